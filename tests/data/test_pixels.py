"""The steps of preprocessing against torchvision's, to the bit."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as official
from PIL import Image
from torchvision.models import ViT_B_16_Weights
from torchvision.transforms import InterpolationMode

from saccade.data import pixels as px
from saccade.data.imagenet import imagenet_names, imagenet_synsets

LEVELS = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
IMAGES = {
    "RGB": Image.fromarray(LEVELS),
    "L": Image.fromarray(LEVELS[..., 0]),
    "levels": torch.from_numpy(LEVELS).permute(2, 0, 1).contiguous(),
    "levels, channels side by side": torch.from_numpy(LEVELS).permute(2, 0, 1),
    "one channel": torch.from_numpy(LEVELS[..., 0])[None],
    "float": torch.from_numpy(LEVELS / 255).permute(2, 0, 1).float(),
    "double": torch.from_numpy(LEVELS / 255).permute(2, 0, 1),
    "half": torch.from_numpy(LEVELS / 255).permute(2, 0, 1).half(),
    "16 bits": torch.from_numpy(LEVELS.astype(np.int16) * 100).permute(2, 0, 1),
}


def equal(ours: Image.Image | torch.Tensor, theirs: Image.Image | torch.Tensor) -> bool:
    if isinstance(ours, Image.Image):
        return ours.mode == theirs.mode and ours.size == theirs.size and ours.tobytes() == theirs.tobytes()
    return ours.dtype == theirs.dtype and ours.stride() == theirs.stride() and torch.equal(ours, theirs)


@pytest.mark.parametrize("name", IMAGES)
def test_equal_to_torchvision(name: str) -> None:
    image = IMAGES[name]
    assert px.get_size(image) == tuple(official.get_size(image)) == (37, 50)
    for interpolation in ("nearest", "bilinear", "bicubic"):
        for size in ((20, 27), (61, 40), (37, 50), (2, 3)):
            mode, smooth = InterpolationMode(interpolation), interpolation != "nearest"
            theirs = official.resize(image, list(size), interpolation=mode, antialias=smooth)
            assert equal(px.resize(image, size, interpolation), theirs), (interpolation, size)
    assert equal(px.crop(image, 3, 5, 20, 30), official.crop(image, 3, 5, 20, 30))
    assert equal(px.center_crop(image, (20, 31)), official.center_crop(image, [20, 31]))
    assert equal(px.flip(image), official.horizontal_flip(image))
    channels = 1 if name in ("L", "one channel") else 3
    fill = [0.25, 0.5, 0.75][:channels] if name in ("float", "double", "half") else [9, 100, 255][:channels]
    padded, theirs = px.pad(image, (50, 61), 4, 7, fill), official.pad(image, [7, 4, 4, 9], fill=fill)
    assert (
        torch.equal(px.to_tensor(padded), official.pil_to_tensor(theirs))
        if name in ("RGB", "L")
        else torch.equal(padded, theirs)
    )


def test_values_equal_torchvision() -> None:
    for name in ("RGB", "L"):
        assert equal(px.to_tensor(IMAGES[name]), official.pil_to_tensor(IMAGES[name]))
    for name, image in IMAGES.items():
        if isinstance(image, torch.Tensor):
            values = px.to_unit(image)
            assert equal(values, official.to_dtype(image, torch.float32, scale=True)), name
            mean, std = [0.485, 0.456, 0.406][: len(image)], [0.229, 0.224, 0.225][: len(image)]
            assert equal(px.normalize(values, mean, std), official.normalize(values, mean, std)), name

    assert px.to_unit(torch.tensor([[[True, False]]])).tolist() == [[[1, 0]]]


def test_levels_are_clamped_where_pytorch_has_no_bicubic_of_bytes(monkeypatch) -> None:
    """On a GPU: bicubic interpolation overshoots at an edge, and a byte would wrap around."""
    edge = torch.zeros(1, 6, 6, dtype=torch.uint8)
    edge[:, :, 3:] = 255
    native = px.resize(edge, (15, 15), "bicubic")
    monkeypatch.setattr(px, "_resizes_bytes", lambda image, interpolation: False)
    levels = px.resize(edge, (15, 15), "bicubic")
    assert levels.dtype == torch.uint8
    assert (levels.int() - native.int()).abs().max() <= 1
    assert (levels.min(), levels.max()) == (0, 255)


def test_names_of_imagenet_are_torchvision_s() -> None:
    assert list(imagenet_names()) == ViT_B_16_Weights.DEFAULT.meta["categories"]
    assert len(imagenet_synsets()) == 1000
