"""Preprocessing for evaluation against timm's `create_transform`: crops, interpolations, shapes of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Interpolation, Preprocessing, Resize

SHAPES = [(500, 375), (333, 517), (224, 224), (100, 80), (641, 97), (107, 214)]  # (W, H)
CROPS = [(224, 0.875), (224, 0.9), (224, 0.95), (224, 1.0), (160, 0.965), (97, 0.77)]


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("resize", "crop_mode"), [("shortest", "center"), ("exact", "squash")])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("size", "crop_pct"), CROPS)
def test_timm(resize: Resize, crop_mode: str, interpolation: Interpolation, size: int, crop_pct: float) -> None:
    data = pytest.importorskip("timm.data")
    ours = Preprocessing((size, size), resize, crop_pct, interpolation, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    theirs = data.create_transform(
        (3, size, size), is_training=False, interpolation=interpolation, crop_pct=crop_pct, crop_mode=crop_mode,
        mean=IMAGENET_MEAN, std=IMAGENET_STD,
    )  # fmt: skip
    for shape in SHAPES:
        image = picture(*shape)
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-6, rtol=0)
