"""Weights as training scripts save them: under prefixes, in wrappers, beside values that are not weights."""

import argparse
import collections
import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saccade
from saccade.checkpoints.loading import load_model
from saccade.checkpoints.reading import read_tensors
from saccade.errors import CheckpointError

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A ViT under timm's names."""
    options = {"block.embed_dim": 64, "block.mlp_dim": 96, "block.num_heads": 1, "depth": 1, "patch_size": (8, 8)}
    net = saccade.create("vit_ti16", num_classes=3, image_size=16, options=options)
    return {name.removeprefix("encoder.").replace("pos_embed.table", "pos_embed"): t for name, t in
            net.state_dict().items()}  # fmt: skip


def opens(content: Any, state: State, folder: Path) -> bool:
    """Whether the file gives a model with these weights."""
    torch.save(content, folder / "weights.pth")
    model = load_model(folder / "weights.pth").model
    named = {name.removeprefix("encoder.").replace("pos_embed.table", "pos_embed"): tensor for name, tensor in
             model.state_dict().items()}  # fmt: skip
    return all(torch.equal(named[name], tensor) for name, tensor in state.items())


PREFIXES = [
    "module.", "model.", "backbone.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.",
    "model.module.", "model.backbone.", "module.model.backbone._orig_mod.", "net.", "module.module.",
    "_fsdp_wrapped_module.", "base_model.", "online_network.encoder.",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes(prefix: str, state: State, tmp_path: Path) -> None:
    assert opens({f"{prefix}{name}": tensor for name, tensor in state.items()}, state, tmp_path)


def test_a_compiled_part(state: State, tmp_path: Path) -> None:
    named = {n.replace("blocks.0.", "blocks.0._orig_mod."): tensor for n, tensor in state.items()}
    assert opens(named, state, tmp_path)


@pytest.mark.parametrize("prefix", ["", "model.", "average_model."])
def test_averaged_models_of_pytorch(prefix: str, state: State, tmp_path: Path) -> None:
    named = {f"{prefix}module.{name}": tensor for name, tensor in state.items()}
    assert opens({f"{prefix}n_averaged": torch.tensor(7), **named}, state, tmp_path)


def other(state: State) -> State:
    return {name: tensor + 1 for name, tensor in state.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "net": lambda s: {"net": s, "epoch": 3},
    "network": lambda s: {"network": s},
    "state_dict in model": lambda s: {"model": {"state_dict": s, "step": 3}},
    "teacher and student": lambda s: {"student": other(s), "teacher": s},
    "student alone": lambda s: {"student": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(3, 3)}}}},
    "ema": lambda s: {"model": other(s), "ema": s},
    "ema of None": lambda s: {"model": s, "ema": None},
    "empty ema": lambda s: {"model": s, "ema": {}},
    "ema with a count alone": lambda s: {"model": s, "ema": {"decay": torch.tensor(0.9), "state": {}}},
    "nested ema": lambda s: {"model": other(s), "ema": {"module": s, "decay": 0.99}},
    "another name": lambda s: {"generator": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(3, 3)}}}},
    "another name in a known one": lambda s: {"model": {"weights_of_mine": s, "step": 3}, "scaler": {}},
    "params and their average": lambda s: {"params": other(s), "params_ema": s},
    "prefixes in it": lambda s: {"net": {f"module.{n}": t for n, t in s.items()}},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers(name: str, state: State, tmp_path: Path) -> None:
    assert opens(WRAPPED[name](state), state, tmp_path)


VALUES = {
    "number of NumPy": np.float64(0.9),
    "other number of NumPy": np.int64(3),
    "array": np.arange(6.0).reshape(2, 3),
    "array of objects": np.array([{"a": 1}, None], dtype=object),
    "strings of NumPy": np.array(["a", "bc"]),
    "path": Path("runs/one"),
    "defaultdict": collections.defaultdict(list, {"loss": [1.0, 2.0]}),
    "deque": collections.deque([1.0], maxlen=3),
    "namespace": argparse.Namespace(lr=1e-3, out=Path("x")),
    "date": datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
    "random state": np.random.RandomState(0).get_state(),
    "type": float,
}


@pytest.mark.parametrize("name", VALUES)
def test_harmless_values_beside_the_weights(name: str, state: State, tmp_path: Path) -> None:
    assert opens({"state_dict": state, "value": VALUES[name]}, state, tmp_path)


def test_a_defaultdict_of_weights(state: State, tmp_path: Path) -> None:
    assert opens(collections.defaultdict(dict, {"model": collections.defaultdict(list, state)}), state, tmp_path)


class Command:
    def __init__(self, function: Callable, *arguments: str):
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable, tuple[str, ...]]:
        return self.call


@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, exec, getattr, open])
def test_nothing_is_executed(function: Callable, state: State, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    argument = {os.system: f"touch {mark}", eval: f"open({str(mark)!r}, 'w')", exec: f"open({str(mark)!r}, 'w')"}
    torch.save({"model": state, "value": Command(function, argument.get(function, str(mark)))}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="could run arbitrary code"):
        read_tensors(tmp_path / "bad.pth")
    assert not mark.exists()


def test_the_state_of_a_placeholder_is_not_run(state: State, tmp_path: Path) -> None:
    """A harmless name with a harmful part inside is refused, and the part is not called."""
    value = argparse.Namespace(inner=Command(os.mkdir, str(tmp_path / "mark")))
    torch.save({"model": state, "value": value}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="could run arbitrary code"):
        read_tensors(tmp_path / "bad.pth")
    assert not (tmp_path / "mark").exists()


def test_dino_is_recognised_by_the_projection_head_of_its_training(state: State, tmp_path: Path) -> None:
    """Under any name of the file: the encoder alone has timm's names, and is read as DINO's by its name only."""
    encoder = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    head = {"head.mlp.0.weight": torch.zeros(8, 64), "head.mlp.0.bias": torch.zeros(8)}
    head |= {"head.last_layer.weight_g": torch.ones(4, 1), "head.last_layer.weight_v": torch.zeros(4, 8)}
    named = {f"module.backbone.{name}": tensor for name, tensor in encoder.items()}
    named |= {f"module.{name}": tensor for name, tensor in head.items()}
    torch.save({"student": named, "teacher": named, "epoch": 100}, tmp_path / "checkpoint.pth")
    loaded = load_model(tmp_path / "checkpoint.pth")
    assert loaded.preprocessing is not None
    assert loaded.preprocessing.mean == (0.485, 0.456, 0.406)
    assert loaded.model.config.position_resampling == "bicubic-offset"
    assert not any("names of timm and of Meta's DINO" in note for note in loaded.report.notes)
    torch.save(encoder, tmp_path / "weights.pth")
    loaded = load_model(tmp_path / "weights.pth")
    assert loaded.model.config.position_resampling == "bicubic-antialias"
    assert any("names of timm and of Meta's DINO" in note for note in loaded.report.notes)


def test_several_tables_of_weights_are_named(state: State, tmp_path: Path) -> None:
    torch.save({"actor": state, "critic": other(state)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"several tables of weights \(actor, critic\)"):
        load_model(tmp_path / "weights.pth")
