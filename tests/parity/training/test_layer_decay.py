"""Layer-wise decay of the learning rate: every architecture that timm has too, against its
`param_groups_layer_decay`."""

import pytest

from saccade.training.config import OptimizerConfig
from tests.parity.training.timm_groups import option_by_parameter

DECAY = 0.75
SMALL_VIT = {"depth": 3, "block.embed_dim": 48, "block.num_heads": 3, "block.mlp_dim": 96}
NAMES = {
    "vit_ti16": SMALL_VIT,
    "vit_s32": {**SMALL_VIT, "pooling": "mean", "pool_norm": True, "num_registers": 2},
    "deit_ti16": SMALL_VIT,
    "hybrid_r26_s32": {},
    "convnext_t": {"depths": [2, 1, 3, 1], "widths": [8, 16, 32, 64]},
    "resnet18": {},
    "resnet50": {},
    "bit_r50x1": {},
    "vgg11": {},
    "convmixer_768_32": {},
}


@pytest.mark.parametrize("name", NAMES)
def test_scales_are_those_of_timm(name: str) -> None:
    optim = pytest.importorskip("timm.optim")
    expected, actual = option_by_parameter(
        name,
        NAMES[name],
        "lr_scale",
        lambda official: optim.param_groups_layer_decay(official, layer_decay=DECAY),
        OptimizerConfig(layer_decay=DECAY),
    )
    assert actual == pytest.approx(expected, rel=1e-12)
