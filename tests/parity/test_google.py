"""Google's `.npz` layouts: official outputs kept in `tests/conformance`, and timm's own reader of the same files."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.checkpoints.formats import google_bit, google_hybrid, google_vit, timm_hybrid
from saccade.checkpoints.loading import load_model
from saccade.checkpoints.mapping import to_ours, to_theirs
from saccade.models.bit import BiT, BiTConfig
from saccade.models.hybrid import HybridConfig, HybridViT, StemConfig
from saccade.nn.transformer import BlockConfig
from tests.parity.cases import OTHERS, PLAIN_VIT, randomised
from tests.parity.cases import timm_hybrid as timm_hybrid_model

SHARED = Path(os.environ.get("SACCADE_SHARED", "/nonexistent"))


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    return path


def small_vit(**options) -> nn.Module:
    plain = {"depth": 2, "block.activation": "gelu_tanh"}
    return randomised(saccade.create("vit_ti16", num_classes=5, image_size=32, options={**plain, **options}))


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@torch.no_grad()
def test_a_later_flax_counts_its_parts_anew(tmp_path: Path) -> None:
    net = small_vit()
    first = to_theirs(net.state_dict(), google_vit.rules(net.config))
    later = {}
    for name, tensor in first.items():
        for new, old in google_vit.LATER_NAMES.items():
            name = name.replace(old, new)
        later[f"opt/target/{name}"] = tensor
    loaded = load_model(write(tmp_path / "later.npz", later))
    images = torch.randn(1, 3, 32, 32)
    assert_close(loaded.model(images), net(images), 0.0)


@torch.no_grad()
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("pooling", ["cls", "mean", "attention"])
def test_big_vision(pooling: str, stacked: bool, tmp_path: Path) -> None:
    """The file is written by our rules backwards, and read by timm as well as by us."""
    timm = pytest.importorskip("timm.models.vision_transformer")
    options = {} if pooling == "cls" else {"pooling": pooling, "class_token": False, "prefix_positions": 0}
    net = small_vit(**options)
    tensors = {}
    for name, tensor in to_theirs(net.state_dict(), google_vit.rules(net.config)).items():
        for new, old in google_vit.LATER_NAMES.items():
            name = name.replace(old, new)
        tensors["params/" + ("pos_embedding" if name == google_vit.POSITIONS else name)] = tensor
    if stacked:
        layers = [name for name in tensors if "encoderblock_0/" in name]
        for name in layers:
            parts = [tensors.pop(name.replace("encoderblock_0/", f"encoderblock_{i}/")) for i in range(2)]
            tensors[name.replace("encoderblock_0/", "encoderblock/")] = torch.stack(parts)
    path = write(tmp_path / "big_vision.npz", tensors)
    loaded = load_model(path)
    assert loaded.model.config.pooling == pooling
    images = torch.randn(2, 3, 32, 32)
    assert_close(loaded.model(images), net(images), 0.0)

    timm_pool = {"cls": "token", "mean": "avg", "attention": "map"}[pooling]
    theirs = timm.VisionTransformer(
        img_size=32, embed_dim=192, depth=2, num_heads=3, num_classes=5, global_pool=timm_pool, fc_norm=False,
        class_token=pooling == "cls", act_layer="gelu_tanh", weight_init="skip",
    )  # fmt: skip
    theirs.load_pretrained(str(path))
    assert_close(loaded.model(images), theirs.eval()(images), PLAIN_VIT)


@torch.no_grad()
def test_big_vision_without_positions_has_fixed_ones(tmp_path: Path) -> None:
    net = small_vit(pooling="mean", class_token=False, prefix_positions=0, positions="sincos_2d_endpoint")
    tensors = to_theirs(net.state_dict(), google_vit.rules(net.config))
    loaded = load_model(write(tmp_path / "s.npz", {f"params/{n}": t for n, t in tensors.items()}), image_size=(32, 32))
    images = torch.randn(1, 3, 32, 32)
    assert_close(loaded.model(images), net(images), 0.0)
    assert "fixed ones" in str(loaded.report)


def test_bfloat16_arrays_are_read(tmp_path: Path) -> None:
    net = small_vit()
    tensors = to_theirs(net.state_dict(), google_vit.rules(net.config))
    arrays = {name: t.bfloat16().view(torch.int16).numpy().view("V2") for name, t in tensors.items()}
    np.savez(tmp_path / "b.npz", **arrays)
    loaded = load_model(tmp_path / "b.npz")
    expected = net.head.weight.bfloat16().float()
    assert torch.equal(loaded.model.head.weight, expected)


@torch.no_grad()
def test_bit_as_timm_reads_it(tmp_path: Path) -> None:
    from functools import partial

    timm = pytest.importorskip("timm.models.resnetv2")
    from timm.layers import StdConv2d

    net = randomised(BiT(BiTConfig((1, 2), num_classes=6, conv_eps=1e-10)))
    tensors = {f"resnet/{n}": t for n, t in to_theirs(net.state_dict(), google_bit.rules(net.config)).items()}
    for name in tensors:
        if name.endswith(("/gamma", "/beta")):
            tensors[name] = tensors[name].reshape(1, 1, 1, -1)
    loaded = load_model(write(tmp_path / "bit.npz", tensors))
    assert loaded.architecture == "bit"
    assert not loaded.report.unused
    conv = partial(StdConv2d, eps=1e-10)
    theirs = timm.ResNetV2([1, 2], num_classes=6, stem_type="fixed", conv_layer=conv)
    np.savez(tmp_path / "flat.npz", **{n: t.flatten() if t.shape[:3] == (1, 1, 1) else t for n, t in
                                       {n: t.numpy() for n, t in tensors.items()}.items()})  # fmt: skip
    theirs.load_pretrained(str(tmp_path / "flat.npz"))
    images = torch.randn(2, 3, 96, 64)
    assert_close(loaded.model(images), theirs.eval()(images), OTHERS)


@torch.no_grad()
@pytest.mark.parametrize("layers", [(1, 2), ()])
def test_a_hybrid_as_timm_reads_it(layers: tuple[int, ...], tmp_path: Path) -> None:
    """Which tensor goes where: timm's reader and ours put every number of one file into the same place."""
    pytest.importorskip("timm")
    block = BlockConfig(64, 4, 256, activation="gelu_tanh")
    patch = (1, 1) if layers else (2, 2)
    config = HybridConfig(block, 2, StemConfig(layers, 64, 1e-6, 1e-10), (64, 64), patch, num_classes=7)
    net = randomised(HybridViT(config))
    tensors = to_theirs(net.state_dict(), google_hybrid.rules(config))
    shaped = {n: t.reshape(1, 1, 1, -1) if "gn" in n else t for n, t in tensors.items()}
    loaded = load_model(write(tmp_path / "hybrid.npz", shaped))
    assert loaded.model.config == replace(config, position_resampling="bilinear-corners")
    images = torch.randn(2, 3, 64, 64)
    assert_close(loaded.model(images), net(images), 0.0)

    theirs: Any = timm_hybrid_model(layers, 64)()
    theirs.load_pretrained(str(tmp_path / "hybrid.npz"))
    ours, unused = to_ours(theirs.state_dict(), timm_hybrid.rules(config))
    assert not unused
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in ours.items())


@torch.no_grad()
@pytest.mark.skipif(not SHARED.is_dir(), reason="set SACCADE_SHARED to the folder with official outputs")
def test_the_official_hybrid() -> None:
    case = SHARED / "conformance" / "google_hybrid_r50"
    loaded = load_model(case.with_suffix(".npz"))
    stored = np.load(case.with_name("google_hybrid_r50.io.npz"))
    images = torch.from_numpy(stored["images_nhwc"]).permute(0, 3, 1, 2)
    assert_close(loaded.model(images), torch.from_numpy(stored["logits"]), OTHERS)
