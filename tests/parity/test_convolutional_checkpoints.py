"""Feature maps of convolutional checkpoints against the stages of the official networks."""

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet

from saccade.checkpoints.loading import load_model
from tests.parity.cases import randomised

TOLERANCE = 1e-4  # of the output's scale


def assert_equal_outputs(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


@pytest.mark.parametrize("block", ["BasicBlock", "Bottleneck"])
def test_feature_maps_equal_torchvisions_stages(block: str, tmp_path: Path) -> None:
    from torchvision.models.feature_extraction import create_feature_extractor

    model = randomised(resnet.ResNet(getattr(resnet, block), [1, 1, 2, 1]))
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
