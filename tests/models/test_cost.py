"""Costs against the published tables and against a count by hand."""

import pytest
import torch

import saccade
from saccade.models.cost import measure_cost

GMACS = [  # the products of attention counted; without them ViT-B/16 would be 16.849
    ("vit_ti16", 224, 1.254),
    ("vit_s16", 224, 4.599),
    ("vit_b32", 224, 4.409),
    ("vit_b16", 224, 17.564),
    ("vit_b16", 384, 55.484),
    ("vit_l16", 224, 61.555),
    ("vit_h14", 224, 167.295),
]


@pytest.mark.parametrize(("name", "image_size", "gmacs"), GMACS)
def test_multiply_adds_equal_the_table(name: str, image_size: int, gmacs: float) -> None:
    with torch.device("meta"):
        model = saccade.create(name, image_size=image_size)
    assert round(measure_cost(model).gmacs, 3) == gmacs


def test_every_layer_is_counted_by_hand() -> None:
    model = saccade.create("vit_digits")  # 8 x 8 pixels, 16 patches and a class token, width 64, MLP 128, 4 blocks
    cost = measure_cost(model)
    tokens, dim, mlp = 17, 64, 128
    projections = tokens * dim * (3 * dim + dim + 2 * mlp)
    attention = 2 * tokens * tokens * dim
    assert cost.macs == 16 * 4 * dim + 4 * (projections + attention) + dim * 10
    assert cost.params == sum(layer.params for layer in cost.layers)
    assert cost.macs == sum(layer.macs for layer in cost.layers)


def test_cost_follows_the_image_and_leaves_the_model_alone() -> None:
    model = saccade.create("vit_digits").eval()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    small, large = measure_cost(model), measure_cost(model, (16, 16))
    assert large.macs > 4 * small.macs  # four times the patches, sixteen times the attention
    assert large.activation_bytes > 3 * small.activation_bytes
    assert not model.training
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
