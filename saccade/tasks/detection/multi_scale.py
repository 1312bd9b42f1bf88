"""Training at several sizes, as DETR (Carion et al., arXiv 2005.12872, A.4; `make_coco_transforms` of its code).

The shorter side of an image is one of 480, 512 … 800 pixels for a model of 800, the longer at most 1,333. Half of the
images are first resized to 400, 500 or 600 and cropped to sides of 384 to 600 pixels. Other sizes are in proportion.
"""

from dataclasses import replace
from typing import Any

import torch
import torchvision.transforms.v2.functional as functional
from torchvision.transforms import InterpolationMode

from saccade.data.images import size_of
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError

REFERENCE = 800  # pixels of the shorter side, to which the following numbers belong
SHORT_SIDES = tuple(range(480, 801, 32))
CROPPED_SHORT_SIDES = (400, 500, 600)
CROP_SIDES = (384, 600)
CROP_PROBABILITY = 0.5


class RandomSizeCrop(torch.nn.Module):
    """With probability 0.5, resize the image and crop a rectangle with random sides, with its boxes and masks.

    Args:
        preprocessing: of the model, with ``resize="range"``.
    """

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        self.scale = min(preprocessing.size) / REFERENCE
        self.interpolation = InterpolationMode(preprocessing.interpolation)

    def forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """`inputs`: a PIL image as ``image``, and tv_tensors."""
        if torch.rand(()) >= CROP_PROBABILITY:
            return inputs
        short = max(1, round(choice(CROPPED_SHORT_SIDES) * self.scale))
        resized = {
            name: functional.resize(value, [short], interpolation=self.interpolation) if name != "labels" else value
            for name, value in inputs.items()
        }
        low, high = (max(1, round(side * self.scale)) for side in CROP_SIDES)
        image: Any = resized["image"]
        height, width = (int(torch.randint(min(low, length), min(high, length) + 1, ())) for length in size_of(image))
        top, left = (int(torch.randint(length - side + 1, ())) for length, side in zip(size_of(image), (height, width)))
        return {
            name: functional.crop(value, top, left, height, width) if name != "labels" else value
            for name, value in resized.items()
        }


def random_size(preprocessing: Preprocessing) -> Preprocessing:
    """The preprocessing with another shorter side and the same limit of the longer one."""
    if preprocessing.resize not in ("range", "edges"):
        raise ConfigError(
            "detection.multi_scale needs a model whose images keep their aspect ratio (resize: range), not "
            f"{preprocessing.resize}"
        )
    short = max(1, round(min(preprocessing.size) * choice(SHORT_SIDES) / REFERENCE))
    return replace(preprocessing, size=(short, max(preprocessing.size)))


def choice(values: tuple[int, ...]) -> int:
    """One of the values, drawn with torch's generator."""
    return values[int(torch.randint(len(values), ()))]
