"""Augmentation of single images in the workers of the loader, in this order: random resized crop, flip, RandAugment,
colour jitter, normalisation, erasing.

Every random draw is a function of (seed, epoch, image). `batch_augmentation.py` augments whole batches on the device.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from saccade.data.config import AugmentationConfig
from saccade.data.pixels import crop, flip, to_tensor
from saccade.data.preprocessing import Preprocessing, resize_image
from saccade.data.randaugment import FORMS, RandAugment, parse_timm
from saccade.data.seeding import mix_seed
from saccade.deferred import Deferred
from saccade.errors import ConfigError

v2 = Deferred("torchvision.transforms.v2")  # for training alone: it takes as long to import as PyTorch

ERASED_AREA = (0.02, 1 / 3)  # of the image, as timm (Zhong et al., arXiv 1708.04896, up to 0.4)
ERASED_RATIO = (0.3, 1 / 0.3)  # of height to width


class ImageTransform(Protocol):
    """An image as :func:`saccade.data.images.read_image` returns it, and the integers that identify this view -> the
    model's input ``[C, H, W]``."""

    deterministic: bool
    preprocessing: Preprocessing

    def __call__(self, image: Image.Image | Tensor, key: Sequence[int]) -> Tensor: ...


class EvalTransform:
    """Preprocessing without augmentation."""

    deterministic = True

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing

    def __call__(self, image: Image.Image | Tensor, key: Sequence[int]) -> Tensor:
        return self.preprocessing(self.preprocessing.convert_mode(image))


class PixelTransform:
    """The image at the model's size as ``[C, H, W]`` uint8, for augmentation of whole batches on the device."""

    deterministic = True

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing

    def __call__(self, image: Image.Image | Tensor, key: Sequence[int]) -> Tensor:
        pixels: Any = self.preprocessing.fit(self.preprocessing.convert_mode(image))
        if isinstance(pixels, Tensor):
            levels = pixels if pixels.dtype == torch.uint8 else (pixels * 255).round().clamp(0, 255).to(torch.uint8)
            return levels.contiguous()
        return to_tensor(pixels)


class TrainTransform:
    """Preprocessing with random crops, flips, colours and erasing."""

    def __init__(self, preprocessing: Preprocessing, config: AugmentationConfig):
        if config.pad_crop:
            raise ConfigError("augmentation.pad_crop works on whole batches: set augmentation.where to batch")
        self.preprocessing = preprocessing
        self.geometry = _geometry(preprocessing, config)
        self.flip = config.flip
        self.colours = colour_transform(config, preprocessing)
        noise: Any = "random"  # documented, but typed as a number
        self.erasing = (
            v2.RandomErasing(config.erasing, ERASED_AREA, ERASED_RATIO, value=noise) if config.erasing else None
        )
        self.deterministic = not (self.geometry or self.flip or self.colours or self.erasing)

    def __call__(self, image: Image.Image | Tensor, key: Sequence[int]) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mix_seed(*key))
            converted: Any = self.preprocessing.convert_mode(image)
            pixels: Any = self.geometry(converted) if self.geometry else self.preprocessing.fit(converted)
            if self.flip and torch.rand(()) < self.flip:
                pixels = flip(pixels)
            if self.colours:
                pixels = self.colours(_as_picture(pixels))
            tensor = self.preprocessing.normalize(pixels)
            return self.erasing(tensor) if self.erasing else tensor


def _as_picture(pixels: Any) -> Any:
    """8-bit levels as a PIL image: colour operations are Pillow's, including their rounding."""
    levels = isinstance(pixels, Tensor) and pixels.dtype == torch.uint8
    return v2.functional.to_pil_image(pixels) if levels else pixels


def _geometry(preprocessing: Preprocessing, config: AugmentationConfig) -> Callable | None:
    if config.crop_scale is None:
        return None
    low, high = config.crop_scale
    if not 0 < low <= high <= 1:
        raise ConfigError(
            f"augmentation.crop_scale must be two fractions of the area with 0 < low <= high <= 1, not {low}, {high}"
        )
    return RandomResizedCrop(preprocessing, (low, high))


class RandomResizedCrop:
    """torchvision's random resized crop, with the same random draws, resized as in the preprocessing."""

    def __init__(self, preprocessing: Preprocessing, scale: tuple[float, float]):
        self.preprocessing = preprocessing
        self.draw = v2.RandomResizedCrop(list(preprocessing.size), scale=scale).make_params

    def __call__(self, image: Image.Image | Tensor) -> Any:
        part = crop(image, **self.draw([image]))
        return resize_image(part, self.preprocessing.size, self.preprocessing.interpolation)


def colour_transform(config: AugmentationConfig, preprocessing: Preprocessing) -> nn.Module | None:
    """RandAugment and colour jitter by the config; None if both are off.

    Raises:
        ConfigError: one of them is on, and the images are neither grey nor RGB.
    """
    active = [name for name in ("randaugment", "color_jitter") if getattr(config, name)]
    if active and preprocessing.channels not in (1, 3):
        raise ConfigError(
            f"augmentation.{active[0]} needs grey or RGB images, and the model has {preprocessing.channels} channels: "
            f"switch it off (--set augmentation.{active[0]}={0 if active[0] == 'color_jitter' else chr(39) * 2})"
        )
    steps: list[Callable] = []
    if config.randaugment:
        steps.append(randaugment(config.randaugment, preprocessing))
    if config.color_jitter:
        strength = config.color_jitter
        steps.append(v2.ColorJitter(strength, strength, strength))
    return v2.Compose(steps) if steps else None


def randaugment(text: str, preprocessing: Preprocessing) -> Callable:
    """The RandAugment of a config: timm's from "rand-m9-mstd0.5-inc1", torchvision's from "2x9"."""
    if not text.startswith("rand"):
        count, magnitude = parse_randaugment(text)
        return v2.RandAugment(count, magnitude, num_magnitude_bins=31)
    count, magnitude, std = parse_timm(text)
    levels = [min(255, round(255 * level)) for level in preprocessing.mean_levels]
    fill = tuple(levels) if len(levels) > 1 else levels[0]
    # PIL has no Lanczos filter for affine maps.
    resample = Image.Resampling[preprocessing.interpolation.upper().replace("LANCZOS", "BICUBIC")]
    return RandAugment(count, magnitude, std, resample, fill)


def parse_randaugment(text: str) -> tuple[int, int]:
    """ "2x9" -> (2 operations, magnitude 9 of 30)."""
    count, _, magnitude = text.partition("x")
    if not (count.isdecimal() and magnitude.isdecimal() and int(magnitude) <= 30):
        raise ConfigError(f"{FORMS}, not {text!r}")
    return int(count), int(magnitude)
