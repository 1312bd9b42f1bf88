"""The order of augmentations, as docs/augmentation.md has it."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from saccade.data import augmentation, batch_augmentation
from saccade.data.augmentation import TrainTransform
from saccade.data.batch_augmentation import BatchAugmentation
from saccade.data.config import AffineConfig, AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.randaugment import RandAugment
from tests.photos import batch_of

DOCS = Path(__file__).parents[2] / "docs" / "augmentation.md"
PREPROCESSING = Preprocessing((8, 8), crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
ALL = {"flip": 1.0, "color_jitter": 0.3, "erasing": 1.0, "mixup": 0.5, "affine": AffineConfig(10, 0.1, 0.1)}


def documented(heading: str) -> list[str]:
    """The bold starts of the numbered list under a heading of the page."""
    section = DOCS.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. \*\*(.+?)\*\*", section, re.MULTILINE)


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The names of the operations in the order in which they run, without what they call themselves."""
    order: list[str] = []
    inside: list[str] = []

    def spy(owner: object, attribute: str, name: str) -> None:
        original = getattr(owner, attribute)

        def wrapped(*args, **kwargs):
            if not inside:
                order.append(name)
            inside.append(name)
            try:
                return original(*args, **kwargs)
            finally:
                inside.pop()

        monkeypatch.setattr(owner, attribute, wrapped)

    spy(augmentation.RandomResizedCrop, "__call__", "random resized crop")
    spy(augmentation, "flip", "flip")
    spy(RandAugment, "__call__", "RandAugment")
    spy(v2.RandAugment, "forward", "RandAugment")
    spy(v2.ColorJitter, "forward", "colour jitter")
    spy(Preprocessing, "normalize", "normalisation")
    spy(Preprocessing, "standardise", "normalisation")
    spy(v2.RandomErasing, "forward", "erasing")
    spy(batch_augmentation, "crop_padded", "pad and crop")
    spy(torch.Tensor, "flip", "flip")
    spy(batch_augmentation, "erase", "erasing")
    spy(batch_augmentation, "warp", "rotation, shift and scaling")
    spy(BatchAugmentation, "_mix", "mixup or cutmix")
    return order


@pytest.mark.parametrize("randaugment", ["rand-m9-mstd0.5-inc1", "2x9"])
def test_an_image_then_its_batch(calls: list[str], randaugment: str) -> None:
    config = AugmentationConfig(crop_scale=(0.5, 1.0), randaugment=randaugment, **ALL)
    transform = TrainTransform(PREPROCESSING, config)
    images = torch.stack([transform(Image.new("RGB", (12, 10), "red"), (0, 0, n, 0)) for n in range(2)])
    half = len(calls) // 2
    assert calls[:half] == calls[half:]
    del calls[:half]
    BatchAugmentation(config, PREPROCESSING, 2, 0)(batch_of(images), step=0, rows=slice(0, 2), batch_size=2)
    assert calls == documented("In the loader") + documented("On the device, always")


def test_a_batch_on_the_device(calls: list[str]) -> None:
    config = AugmentationConfig(crop_scale=None, pad_crop=1, randaugment="2x9", where="batch", **ALL)
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    BatchAugmentation(config, PREPROCESSING, 2, 0)(batch_of(images), step=0, rows=slice(0, 2), batch_size=2)
    assert calls == documented("On the device, with where: batch") + documented("On the device, always")


def test_colours_are_drawn_once_for_an_image() -> None:
    steps = augmentation.colour_transform(AugmentationConfig(randaugment="2x9", color_jitter=0.1), PREPROCESSING)
    assert isinstance(steps, v2.Compose)
    assert [type(step).__name__ for step in steps.transforms] == ["RandAugment", "ColorJitter"]
