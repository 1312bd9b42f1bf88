"""Convolutional checkpoints of torchvision and timm against their official code, on the same weights and images."""

from pathlib import Path

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file
from torch import nn

from saccade.checkpoints.loading import load_model

TOLERANCE = 1e-4  # of the output's scale


def randomised(model: nn.Module) -> nn.Module:
    """Every parameter and statistic random, so that nothing that is 0 or 1 at the start hides a mistake."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            if name.endswith("running_var"):
                buffer.copy_(0.8 + 0.4 * torch.rand(buffer.shape, generator=generator))
    return model.eval()


def assert_equal_outputs(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg16_bn", "resnet18", "resnet50", "wide_resnet50_2"])
def test_torchvision(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = randomised(getattr(torchvision.models, name)(weights=None, num_classes=7))
    torch.save(model.state_dict(), tmp_path / f"{name}.pth")
    loaded = load_model(tmp_path / f"{name}.pth")
    assert not loaded.report.new
    assert not loaded.report.unused
    for size in ((224, 224), (160, 192)):
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            assert_equal_outputs(loaded.model(images), model(images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_timm(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = randomised(timm.create_model(name, num_classes=5, in_chans=4))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors", num_classes=5)
    images = torch.randn(1, 4, 96, 128)
    with torch.no_grad():
        assert_equal_outputs(loaded.model(images), model(images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_feature_maps_equal_torchvisions_stages(name: str, tmp_path: Path) -> None:
    from torchvision.models.feature_extraction import create_feature_extractor

    model = randomised(getattr(torchvision.models, name)(weights=None))
    torch.save(model.state_dict(), tmp_path / "m.pth")
    stages = create_feature_extractor(model, [f"layer{stage}" for stage in (1, 2, 3, 4)])
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        maps = load_model(tmp_path / "m.pth").model.features(images)
        expected = list(stages(images).values())
    assert [m.stride for m in maps] == [(4, 4), (8, 8), (16, 16), (32, 32)]
    for found, theirs in zip(maps, expected, strict=True):
        assert_equal_outputs(found.features, theirs)
        assert tuple(found.features.shape[-2:]) == (96 // found.stride[0], 128 // found.stride[1])
