"""What other libraries see inside a ViT: its layers, activations, attributions, multiply-adds."""

from math import prod

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.models.cost import measure_cost, whole_blocks


@pytest.fixture
def vit() -> nn.Module:
    torch.manual_seed(0)
    return saccade.create("vit_digits").eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


OPTIONS = [
    {}, {"pooling": "mean"}, {"pooling": "attention"}, {"pooling": "mean", "pool_norm": True}, {"positions": "fourier"},
    {"positions": "learned", "prefix_positions": 1}, {"positions": "none"}, {"num_registers": 2, "pooling": "cls+mean"},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_torchvision_extracts_features(options: dict, images: Tensor) -> None:
    feature_extraction = pytest.importorskip("torchvision.models.feature_extraction")
    vit = saccade.create("vit_digits", options=options).eval()
    extractor = feature_extraction.create_feature_extractor(vit, {"encoder.blocks.1": "tokens", "head": "logits"})
    outputs = extractor(images)
    assert torch.equal(outputs["logits"], vit(images))
    assert torch.equal(outputs["tokens"], vit.encoder(images, taps=[1]).taps[0])
    larger = torch.randn(1, 1, 12, 8)
    assert torch.equal(extractor(larger)["logits"], vit(larger))


def test_torchinfo_counts_every_layer(vit: nn.Module) -> None:
    """Its table has each layer with its output's shape, whence the multiply-adds of `models/cost.py`.

    Its own total counts a linear map over many tokens once and adds biases and norms, so it is compared to that rule.
    """
    torchinfo = pytest.importorskip("torchinfo")
    with whole_blocks(vit):
        summary = torchinfo.summary(vit, input_size=(1, 1, 8, 8), verbose=0, depth=10)
    rows = [row for row in summary.summary_list if row.is_leaf_layer and isinstance(row.module, nn.Linear | nn.Conv2d)]
    macs = 0
    for row in rows:
        channels = row.output_size[1] if isinstance(row.module, nn.Conv2d) else row.output_size[-1]
        macs += prod(row.output_size) // channels * row.module.weight.numel()
    attention = 4 * 2 * 17 * 17 * 64  # of four blocks, which no layer with weights computes
    assert macs + attention == measure_cost(vit).macs
    other = sum(p.numel() for p in vit.parameters()) - vit.encoder.cls_token.numel()
    patches = sum(p.numel() for p in vit.encoder.patch_embed.parameters())
    assert summary.total_mult_adds == other - patches + 16 * patches


def test_captum_attributes_to_pixels_and_layers(vit: nn.Module, images: Tensor) -> None:
    captum = pytest.importorskip("captum.attr")
    attributions, error = captum.IntegratedGradients(vit).attribute(
        images, target=3, n_steps=200, return_convergence_delta=True
    )
    assert attributions.shape == images.shape
    assert error.abs().max() < 1e-3  # completeness: attributions sum to f(x) - f(0)
    layer = captum.LayerActivation(vit, vit.encoder.blocks[1].attn.qkv).attribute(images)
    assert layer.shape == (2, 17, 3 * 64)
    gradient = captum.LayerGradientXActivation(vit, vit.encoder.blocks[1].attn.qkv).attribute(images, target=3)
    assert gradient.abs().max() > 0


def test_grad_cam_maps_a_class(vit: nn.Module, images: Tensor) -> None:
    grad_cam = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    layout = vit.token_layout()
    with grad_cam.GradCAM(vit, [vit.encoder.blocks[-1].norm1], reshape_transform=layout.to_map) as cam:
        maps = cam(images, targets=[targets.ClassifierOutputTarget(3), targets.ClassifierOutputTarget(5)])
    assert maps.shape == (2, 8, 8)
    assert maps.max() > 0
