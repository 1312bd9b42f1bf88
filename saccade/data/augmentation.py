"""What training adds to images, as a function of (seed, epoch, image) or (seed, step) and of nothing else.

Here per image, in the loader's workers: random resized crop, flip, RandAugment, colour jitter, erasing, all
torchvision's. What happens to whole batches on the model's device is in `batch_augmentation.py`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torchvision.transforms.v2.functional as functional
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.seeding import mix_seed
from saccade.errors import ConfigError


class ImageTransform(Protocol):
    """A PIL image and the numbers that name this view of it -> the model's input ``[C, H, W]``."""

    deterministic: bool

    def __call__(self, image: Image.Image, key: Sequence[int]) -> Tensor: ...


class EvalTransform:
    """Preprocessing alone."""

    deterministic = True

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing

    def __call__(self, image: Image.Image, key: Sequence[int]) -> Tensor:
        return self.preprocessing(self.preprocessing.in_colour(image))


class Pixels:
    """The image at the model's size as ``[C, H, W]`` uint8: what stays of it when all else happens to whole batches."""

    deterministic = True

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing

    def __call__(self, image: Image.Image, key: Sequence[int]) -> Tensor:
        fitted: Any = self.preprocessing.fit(self.preprocessing.in_colour(image))
        return functional.pil_to_tensor(fitted)


class TrainTransform:
    """Preprocessing with random crops, flips, colours and erasing."""

    def __init__(self, preprocessing: Preprocessing, config: AugmentationConfig):
        if config.pad_crop:
            raise ConfigError("augmentation.pad_crop is cut from whole batches: set augmentation.where to batch")
        self.preprocessing = preprocessing
        self.geometry = _geometry(preprocessing, config)
        self.flip = config.flip
        self.colours = colours(config)
        noise: Any = "random"  # documented, but typed as a number
        self.erasing = v2.RandomErasing(config.erasing, value=noise) if config.erasing else None
        self.deterministic = not (self.geometry or self.flip or self.colours or self.erasing)

    def __call__(self, image: Image.Image, key: Sequence[int]) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mix_seed(*key))
            picture = self.preprocessing.in_colour(image)
            fitted: Any = self.geometry(picture) if self.geometry else self.preprocessing.fit(picture)
            if self.flip and torch.rand(()) < self.flip:
                fitted = v2.functional.horizontal_flip(fitted)
            if self.colours:
                fitted = self.colours(fitted)
            tensor = self.preprocessing.normalize(fitted)
            return self.erasing(tensor) if self.erasing else tensor


def _geometry(preprocessing: Preprocessing, config: AugmentationConfig) -> v2.Transform | None:
    if config.crop_scale is None:
        return None
    low, high = config.crop_scale
    if not 0 < low <= high <= 1:
        raise ConfigError(
            f"augmentation.crop_scale must be two shares of the area with 0 < low <= high <= 1, not {low}, {high}"
        )
    mode = InterpolationMode(preprocessing.interpolation)
    return v2.RandomResizedCrop(list(preprocessing.size), scale=(low, high), interpolation=mode, antialias=True)


def colours(config: AugmentationConfig) -> v2.Transform | None:
    """Colour jitter and RandAugment, as far as the config asks for them."""
    steps: list[torch.nn.Module] = []
    if config.color_jitter:
        strength = config.color_jitter
        steps.append(v2.ColorJitter(strength, strength, strength))
    if config.randaugment:
        count, magnitude = parse_randaugment(config.randaugment)
        steps.append(v2.RandAugment(count, magnitude, num_magnitude_bins=31))
    return v2.Compose(steps) if steps else None


def parse_randaugment(text: str) -> tuple[int, int]:
    """ "2x9" -> (2 operations, magnitude 9 of 30)."""
    count, _, magnitude = text.partition("x")
    if not (count.isdecimal() and magnitude.isdecimal() and int(magnitude) <= 30):
        raise ConfigError(
            f"augmentation.randaugment must look like 2x9 (operations x magnitude up to 30), not {text!r}"
        )
    return int(count), int(magnitude)
