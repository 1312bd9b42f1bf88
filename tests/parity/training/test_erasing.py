"""Random erasing against timm's: how often, how large, in which shape, and with what."""

import random

import pytest
import torch

from saccade.data.augmentation import TrainTransform
from saccade.data.batch_augmentation import erasing_boxes
from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing

COUNT, SIDE = 4000, 64
Rectangle = tuple[int, int]  # height, width


def erased(image: torch.Tensor) -> Rectangle | None:
    """The rectangle of an image that was 0 everywhere."""
    rows, columns = (image != 0).any(0).nonzero(as_tuple=True)
    if not len(rows):
        return None
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


def summary(rectangles: list[Rectangle | None]) -> list[float]:
    """Fraction of images, then mean and deviation of the area, and of the logarithm of height over width."""
    sides = torch.tensor([r for r in rectangles if r is not None], dtype=torch.float64)
    area, ratio = sides.prod(1) / SIDE**2, (sides[:, 0] / sides[:, 1]).log()
    return [len(sides) / len(rectangles), *(f(x).item() for x in (area, ratio) for f in (torch.mean, torch.std))]


def test_erasing_is_timms() -> None:
    timm = pytest.importorskip("timm.data.random_erasing")
    theirs = timm.RandomErasing(0.25, mode="pixel", device="cpu")
    plain = Preprocessing((SIDE, SIDE), channels=1, mean=(0.0,), std=(1.0,))
    ours = TrainTransform(plain, AugmentationConfig(None, 0.0, erasing=0.25)).erasing
    assert ours is not None
    random.seed(0)
    torch.manual_seed(0)
    images = [[transform(torch.zeros(1, SIDE, SIDE)) for _ in range(COUNT)] for transform in (ours, theirs)]
    boxes = erasing_boxes(0.25, COUNT, (SIDE, SIDE), torch.Generator().manual_seed(0)).long()
    on_device = [(end - top, right - left) if end > top else None for top, end, left, right in boxes.tolist()]
    one, other = (summary([erased(image) for image in part]) for part in images)
    # Three standard deviations of the difference of two samples: fraction, area (mean, deviation), shape (the same).
    tolerance = (0.03, 0.013, 0.01, 0.08, 0.06)
    for values in (one, summary(on_device)):
        for value, expected, within in zip(values, other, tolerance, strict=True):
            assert value == pytest.approx(expected, abs=within)
    noise = torch.cat([image[image != 0] for image in images[0]])
    assert (noise.mean().item(), noise.std().item()) == pytest.approx((0, 1), abs=0.01)
