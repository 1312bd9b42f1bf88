"""Which parameters are decayed: every architecture that timm has too, against its `param_groups_weight_decay`."""

import pytest
from torch import nn

from saccade.training.config import OptimizerConfig
from tests.parity.training.timm_groups import Groups, option_by_parameter

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


def official_groups(official: nn.Module) -> Groups:
    optim = pytest.importorskip("timm.optim")
    exceptions = official.no_weight_decay() if hasattr(official, "no_weight_decay") else ()
    return optim.param_groups_weight_decay(official, weight_decay=DECAY, no_weight_decay_list=exceptions)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_parameters_are_decayed_as_in_timm(name: str) -> None:
    config = OptimizerConfig(weight_decay=DECAY)
    expected, actual = option_by_parameter(name, NAMES[name], "weight_decay", official_groups, config)
    assert set(actual.values()) == {0.0, DECAY}
    assert actual == expected
