"""Which parameters are decayed: every architecture that timm has too, against its `param_groups_weight_decay`."""

import pytest
import torch

import saccade
from saccade.checkpoints.convert import WRITERS
from saccade.checkpoints.mapping import to_ours
from saccade.checkpoints.timm_names import timm_arguments
from saccade.models.zoo import architecture_of
from saccade.training.config import OptimizerConfig
from saccade.training.optimizers import parameter_groups

DECAY = 0.05
SMALL_VIT = {"depth": 2, "block.embed_dim": 48, "block.num_heads": 3, "block.mlp_dim": 96}
NAMES = {
    "vit_ti16": SMALL_VIT,
    "vit_s32": {**SMALL_VIT, "pooling": "mean", "pool_norm": True, "num_registers": 2},
    "deit_ti16": SMALL_VIT,
    "convnext_t": {"depths": [2, 1, 3, 1], "widths": [8, 16, 32, 64]},
    "resnet18": {},
    "resnet50": {},
}


def decays(name: str) -> tuple[dict[str, float], dict[str, float]]:
    """Weight decay of each parameter by its name in this package: timm's, and this package's."""
    timm = pytest.importorskip("timm")
    optim = pytest.importorskip("timm.optim")
    architecture = architecture_of(name)
    with torch.device("meta"):
        model = saccade.create(name, num_classes=10, options=NAMES[name])
        official_name, arguments = timm_arguments(architecture, model.config)
        official = timm.create_model(official_name, num_classes=10, **arguments)
    exceptions = official.no_weight_decay() if hasattr(official, "no_weight_decay") else ()
    groups = optim.param_groups_weight_decay(official, weight_decay=DECAY, no_weight_decay_list=exceptions)
    decay_of = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    # Each official tensor filled with its own decay, brought to this package's names and layouts.
    filled = {
        n: torch.tensor(decay_of[id(p)], dtype=torch.float64).expand(p.shape) for n, p in official.named_parameters()
    }
    filled |= {n: torch.zeros(b.shape) for n, b in official.named_buffers()}
    tensors, unplaced = to_ours(filled, WRITERS["timm"][architecture].rules(model.config))
    assert not unplaced
    groups = parameter_groups(model, OptimizerConfig(weight_decay=DECAY))
    actual = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    names = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert all(tensors[n].min() == tensors[n].max() for n in names)
    return {n: tensors[n].flatten()[0].item() for n in names}, {n: actual[id(p)] for n, p in names.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_parameters_are_decayed_as_in_timm(name: str) -> None:
    expected, actual = decays(name)
    assert set(actual.values()) == {0.0, DECAY}
    assert actual == expected
