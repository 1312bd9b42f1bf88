"""Layer-wise decay of the learning rate: every architecture that timm has too, against its
`param_groups_layer_decay`."""

import pytest
import torch

import saccade
from saccade.checkpoints.convert import WRITERS
from saccade.checkpoints.mapping import to_ours
from saccade.checkpoints.timm_names import timm_arguments
from saccade.models.zoo import architecture_of
from saccade.training.config import OptimizerConfig
from saccade.training.optimizers import parameter_groups

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
    timm = pytest.importorskip("timm")
    optim = pytest.importorskip("timm.optim")
    architecture = architecture_of(name)
    with torch.device("meta"):
        model = saccade.create(name, num_classes=10, options=NAMES[name])
        official_name, arguments = timm_arguments(architecture, model.config)
        official = timm.create_model(official_name, num_classes=10, **arguments)
    groups = optim.param_groups_layer_decay(official, layer_decay=DECAY)
    scale_of = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    # Each official tensor filled with its own scale, brought to this package's names and layouts.
    filled = {
        n: torch.tensor(scale_of[id(p)], dtype=torch.float64).expand(p.shape) for n, p in official.named_parameters()
    }
    filled |= {n: torch.zeros(b.shape) for n, b in official.named_buffers()}
    expected, unplaced = to_ours(filled, WRITERS["timm"][architecture].rules(model.config))
    assert not unplaced

    config = OptimizerConfig(layer_decay=DECAY)
    actual = {id(p): group["lr_scale"] for group in parameter_groups(model, config) for p in group["params"]}
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert len(names) == len(actual) > 10
    for parameter in names:
        tensor = expected[parameter]
        assert tensor.min() == tensor.max(), parameter
        assert actual[id(model.get_parameter(parameter))] == pytest.approx(tensor.flatten()[0].item(), rel=1e-12), (
            parameter
        )
