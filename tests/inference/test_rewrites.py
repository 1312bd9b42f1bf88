"""Every rewrite computes the same function in float64, on a copy."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import saccade
from saccade.errors import RecordingError
from saccade.inference.rewrites.absorb_keys_values import AbsorbedAttention, absorb_keys_values
from saccade.inference.rewrites.fixed_filters import FixedConv2d, fix_filters
from saccade.inference.rewrites.fold_batch_norm import fold_batch_norm
from saccade.inference.rewrites.fold_layer_scale import fold_layer_scale
from saccade.inference.rewrites.fold_norms import fold_norms
from saccade.inference.rewriting import Part, rewritten, tensors_of
from saccade.models.bit import BiT, BiTConfig
from saccade.models.deit import DeiTConfig, DistilledViT
from saccade.models.model import Model
from saccade.models.vit import VisionTransformer
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.transformer import BlockConfig, LayerScale

BLOCK = BlockConfig(24, 3, 40, layer_scale=0.5)
SIZE = (16, 24)


def vit(**options: object) -> VisionTransformer:
    return VisionTransformer(ViTConfig(BLOCK, 3, image_size=SIZE, patch_size=(8, 8), num_classes=7, **options))


MODELS: dict[str, Callable[[], Model]] = {
    "class token": vit,
    "registers": lambda: vit(num_registers=2, prefix_positions=1),
    "mean": lambda: vit(pooling="mean", class_token=False, prefix_positions=0),
    "attention pool": lambda: vit(pooling="attention", class_token=False, prefix_positions=0),
    "input norm": lambda: vit(input_norm=True),
    "padded": lambda: vit(pad=True),
    "rotary": lambda: vit(positions="rotary", prefix_positions=0),
    "DeiT": lambda: DistilledViT(DeiTConfig(BLOCK, 3, SIZE, (8, 8), num_classes=7)),
    "BiT": lambda: BiT(BiTConfig((1, 1), 1, image_size=(32, 32), num_classes=7)),
    "resnet18_small": lambda: saccade.create("resnet18_small", options={"width": 8}),
    **{name: lambda name=name: saccade.create(name) for name in ("dpt_small_seg", "detr_small")},
}


def exact(model: Model) -> Model:
    """In float64, with every parameter and statistic away from its first value."""
    torch.manual_seed(0)
    model = model.double().eval().requires_grad_(False)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif tensor.is_floating_point() and tensor.ndim <= 1:
            tensor.add_(torch.randn_like(tensor) * 0.3)
    return model


def same(model: Model, other: nn.Module) -> bool:
    images = model.example_inputs(2)[0].double()
    return all(
        torch.allclose(a, b, rtol=1e-12, atol=1e-12)
        for a, b in zip(tensors_of(model(images)), tensors_of(other(images)), strict=True)
    )


@pytest.mark.parametrize("name", MODELS)
def test_all_rewrites_together(name: str) -> None:
    model = exact(MODELS[name]())
    before = copy.deepcopy(model.state_dict())
    assert same(model, rewritten(model))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())  # a copy was changed


@pytest.mark.parametrize(
    ("rewrite", "model", "kind"),
    [
        (absorb_keys_values, "class token", AbsorbedAttention),
        (absorb_keys_values, "attention pool", AbsorbedAttention),
        (absorb_keys_values, "DeiT", AbsorbedAttention),
        (fix_filters, "BiT", FixedConv2d),
    ],
)
def test_one_rewrite_replaces_parts(rewrite: Callable, model: str, kind: type) -> None:
    plain = exact(MODELS[model]())
    result = rewrite(copy.deepcopy(plain))
    assert any(isinstance(part, kind) for part in result.modules())
    assert same(plain, result)


def test_folding_leaves_no_factors_behind() -> None:
    model = exact(vit())
    folded = fold_layer_scale(fold_norms(copy.deepcopy(model)))
    assert not any(isinstance(part, LayerScale) for part in folded.modules())
    assert all(block.norm1.weight is None and block.norm2.weight is None for block in folded.encoder.blocks)
    assert same(model, folded)


@pytest.mark.parametrize("name", ["resnet18_small", "dpt_small_seg", "detr_small"])
def test_batch_norms_vanish(name: str) -> None:
    model = exact(MODELS[name]())
    folded = fold_batch_norm(copy.deepcopy(model))
    left = [part for part in folded.modules() if isinstance(part, nn.BatchNorm2d)]
    assert not left
    assert same(model, folded)


def test_maps_of_all_tokens_are_refused_and_recording_names_what_is_hidden() -> None:
    model = exact(vit())
    fast = rewritten(model)
    images = model.example_inputs()[0].double()
    with pytest.raises(ValueError, match="pooled output"):
        fast.feature_maps(images)
    with (
        pytest.raises(RecordingError, match=r"optimised.*keys and values.*encoder\.blocks\.2\.attn"),
        saccade.record(fast),
    ):
        fast(images)


def test_a_model_without_pruning_is_recorded_as_before() -> None:
    model = exact(vit(pooling="mean", class_token=False, prefix_positions=0))
    fast, images = rewritten(model), model.example_inputs()[0].double()
    with saccade.record(model) as plain:
        model(images)
    with saccade.record(fast) as trace:
        fast(images)
    for path, weights in plain.attention.items():
        assert torch.allclose(weights, trace.attention[path], atol=1e-6)


def test_a_part_is_one_method() -> None:
    model = exact(vit())
    images = model.example_inputs()[0].double()
    assert torch.equal(Part(model, "embed")(images)[0], model.embed(images))
