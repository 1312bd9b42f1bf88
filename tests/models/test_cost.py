"""Costs against the published tables and against a count by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import saccade
from saccade.errors import ConfigError
from saccade.models.cost import measure_cost, measure_parts, whole_blocks

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


def test_the_closed_form_of_a_vit() -> None:
    """8 x 8 pixels, 16 patches and a class token, width 64, MLP 128, 4 blocks; the fused attention is counted."""
    cost = measure_cost(saccade.create("vit_digits"))
    tokens, dim, mlp = 17, 64, 128
    projections = tokens * dim * (3 * dim + dim + 2 * mlp)
    attention = 2 * tokens * tokens * dim
    assert cost.macs == 16 * 4 * dim + 4 * (projections + attention) + dim * 10
    assert cost.params == 135_050


@pytest.mark.parametrize("name", ["vit_digits", "detr_small", "seq2seq_small", "perceiver_digits", "local_resnet26"])
def test_meta_tensors_give_the_same_count(name: str) -> None:
    """On the meta device attention is not fused, and torch's counter sees its two matrix products."""
    with torch.device("meta"):
        model = saccade.create(name).eval()
    with FlopCounterMode(display=False) as counter, whole_blocks(model):
        model(*(tensor.to("meta") for tensor in model.example_inputs()))
    assert counter.get_total_flops() == 2 * measure_cost(model).macs


def test_example_inputs() -> None:
    for name, count in (("vit_digits", 1), ("bert_small", 1), ("clip_small", 2), ("seq2seq_small", 2)):
        first, again = (saccade.create(name).example_inputs(3) for _ in range(2))
        assert [len(tensor) for tensor in first] == [3] * count
        assert all(torch.equal(one, other) for one, other in zip(first, again))
    net = saccade.create("vit_digits")
    state = torch.get_rng_state()
    assert net.example_inputs(2, (16, 12))[0].shape == (2, 1, 16, 12)
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ConfigError, match="no image size"):
        saccade.create("bert_small").example_inputs(1, (8, 8))


def test_cost_follows_the_image_and_leaves_the_model_alone() -> None:
    model = saccade.create("vit_digits").eval()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    small, large = measure_cost(model), measure_cost(model, (16, 16))
    assert large.macs > 4 * small.macs  # four times the patches, sixteen times the attention
    assert large.activation_bytes > 3 * small.activation_bytes
    assert not model.training
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["vit_digits", "detr_small", "mae_digits", "clip_ti16", "perceiver_digits", "lenet"])
def test_parts_add_up_to_the_model(name: str) -> None:
    model = saccade.create(name)
    parts, cost = measure_parts(model), measure_cost(model)
    assert sum(part.params for part in parts) == cost.params
    assert sum(part.macs for part in parts) == cost.macs
    assert all(part.macs >= 0 for part in parts)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_the_parts_of_a_vit_have_a_closed_form() -> None:
    """17 tokens of width 64, 4 blocks, MLP of 128, 16 patches of 2 x 2."""
    parts = {(part.part, part.kind): part for part in measure_parts(saccade.create("vit_digits"))}
    blocks = "encoder.blocks"
    assert parts[blocks, "scores and values of attention"].macs == 4 * 2 * 17**2 * 64
    assert parts[blocks, "projections of attention"].macs == 4 * 4 * 17 * 64**2
    assert parts[blocks, "MLP"].macs == 4 * 2 * 17 * 64 * 128
    assert parts[blocks, "MLP"].params == 4 * (2 * 64 * 128 + 64 + 128)
    assert parts["encoder.patch_embed", ""].macs == 16 * 64 * 4
    assert parts["head", ""].macs == 64 * 10


@pytest.mark.parametrize("size", [32, 64])
def test_the_products_of_an_axial_attention_have_a_closed_form(size: int) -> None:
    """One block of width C at a stride of 4: of both axes two products of places with places and three with the
    vectors of relative positions. Queries and keys have half the width of the values."""
    model = saccade.create("axial_resnet26_s", image_size=64, options={"depths": [1], "width": 16, "num_heads": 2})
    (channels,) = {module.value_dim * module.num_heads for module in model.modules() if hasattr(module, "value_dim")}
    side = size // 4
    scores, sums = 3 * side * channels // 2, 2 * side * channels  # of each place of an axis
    assert measure_cost(model, (size, size)).attention_macs == 2 * side**2 * (scores + sums)


def test_every_attention_is_counted() -> None:
    """The products of a local attention, each place with 9 keys and values; and those of DETR's mask head."""
    local = saccade.create("local_resnet26", image_size=64, options={"depths": [1], "width": 16, "window": 3})
    assert measure_cost(local).attention_macs == 16**2 * 9 * 2 * 16
    plain, masks = saccade.create("detr_small"), saccade.create("detr_small", options={"masks": True})
    more = measure_cost(masks).attention_macs - measure_cost(plain).attention_macs
    assert more == 16 * 8 * 8 * 128  # queries, places of the last map, width
