"""Preprocessing of images for evaluation, as plain data that is stored with a model.

An image is resized, cropped, scaled to a range and normalised. The parameters are part of a checkpoint: with other
parameters the model gives other results. Training adds augmentation (`augmentation.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import torch
from PIL import Image
from torch import Tensor

from saccade.config_io import Config, build_config
from saccade.data import pixels as px
from saccade.data.pixels import Interpolation
from saccade.errors import ConfigError, ImageError

Resize = Literal["shortest", "exact", "pad", "range", "edges", "inside", "closest", "cover"]

MAX_SIDE = 2**14  # pixels of the model's input
# A thin image is scaled until its shorter side fits, and the rest is cut off: where that has more than so many pixels,
# or times the pixels of the model's input, the middle is cut out first. Thinner ones than 1 : MAX_ASPECT are refused.
MAX_RESIZED, MAX_RATIO, MAX_ASPECT = 16_777_216, 16, 10_000

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing(Config):
    """Image in, tensor ``[C, H, W]`` out.

    Attributes:
        size: (H, W) in pixels of the model's input.
        resize: ``shortest`` scales the image to cover ``size / crop_pct`` with its aspect ratio, ``exact`` without it,
            both followed by a centre crop; ``pad`` scales it to fit inside `size` and pads with the mean; ``range``
            scales the shorter side to the smaller number of `size`, or the longer side to the larger number if that
            is less (detectors), so that the input has the aspect ratio of the image; ``edges`` is the same, but the
            longer side follows from the shorter one before that is rounded (transformers); ``inside`` scales it to fit
            inside `size` without padding; ``closest`` scales it so that one side is that of `size`, the one which needs
            the smaller change (DPT), and ``cover`` so that no side is shorter than that of `size` (Depth Anything);
            both round each side to a multiple of `multiple`.
        crop_pct: fraction of each side that the centre crop keeps, in (0, 1]; only for ``shortest`` and ``exact``.
        interpolation: interpolation of resizing, with antialiasing when shrinking, as in PIL.
        channels: 1 for greyscale, 3 for RGB; other numbers accept tensors only.
        value_range: the values of black and white before mean and std are applied.
        multiple: number of pixels; with ``closest`` and ``cover`` both sides are rounded to a multiple of it.
        mean, std: statistics of the normalisation, one number for each channel.
    """

    size: tuple[int, int] = (224, 224)
    resize: Resize = "shortest"
    crop_pct: float = 0.875
    interpolation: Interpolation = "bicubic"
    channels: int = 3
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    multiple: int = 1

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1 or max(self.size) > MAX_SIDE:
            raise ConfigError(f"size must be a height and a width from 1 to {MAX_SIDE} pixels, not {self.size}")
        if self.resize not in get_args(Resize):
            raise ConfigError(f"resize must be one of {', '.join(get_args(Resize))}, not {self.resize!r}")
        if not 1 <= self.multiple <= MAX_SIDE:
            raise ConfigError(f"multiple must be from 1 to {MAX_SIDE} pixels, not {self.multiple}")
        if self.interpolation not in ("nearest", "bilinear", "bicubic", "lanczos"):
            raise ConfigError(
                f"interpolation must be nearest, bilinear, bicubic or lanczos, not {self.interpolation!r}"
            )
        if not 0 < self.crop_pct <= 1:
            raise ConfigError(f"crop_pct must be in (0, 1], not {self.crop_pct}")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ConfigError(f"{len(self.mean)} means and {len(self.std)} stds for {self.channels} channels")
        numbers = {"crop_pct": [self.crop_pct], "value_range": self.value_range, "mean": self.mean, "std": self.std}
        for name, values in numbers.items():
            if not all(map(math.isfinite, values)):
                raise ConfigError(f"{name} must be finite, not {values}")
        if self.value_range[0] == self.value_range[1]:
            raise ConfigError(f"value_range must be two different values (black, white), not {self.value_range}")
        if min(self.std) <= 0:
            raise ConfigError(f"every std must be positive, not {self.std}")

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """A PIL image, or a tensor ``[C, H, W]`` (uint8, or float in [0, 1]) -> ``[C, *size]`` float32, normalised."""
        return self.normalize(self.fit(image))

    def convert_mode(self, image: Image.Image | Tensor) -> Image.Image | Tensor:
        """A PIL image in the mode of the model, greyscale or RGB; tensors are returned unchanged."""
        mode = {1: "L", 3: "RGB"}.get(self.channels)
        return image.convert(mode) if isinstance(image, Image.Image) and mode else image

    def fit(self, image: Image.Image | Tensor) -> Image.Image | Tensor:
        """The image resized, cropped or padded to the model's size, without normalisation."""
        height, width = px.get_size(image)
        if self.keeps_aspect:
            return self._resize(image, self.whole_size(height, width))
        if self.resize == "pad":
            factor = min(self.size[0] / height, self.size[1] / width)
            inner = (max(1, round(height * factor)), max(1, round(width * factor)))
            top, left = (self.size[0] - inner[0]) // 2, (self.size[1] - inner[1]) // 2
            return px.pad(self._resize(image, inner), self.size, top, left, self._background(image))
        scaled = self.resize_size if self.resize == "exact" else self.size_covering(height, width)
        if self._is_too_large(scaled, height, width):
            image, scaled = self._middle(image, scaled)
        return px.center_crop(self._resize(image, scaled), self.size)

    @property
    def keeps_aspect(self) -> bool:
        """Whether the input is the whole image in its own aspect ratio, so that its size depends on the image."""
        return self.resize in ("range", "edges", "inside", "closest", "cover")

    @property
    def resizes_levels(self) -> bool:
        """Whether tensors of 8-bit levels are resized like PIL images: they differ by .01 levels on average, by 2 at
        most. Other interpolations need Pillow."""
        return self.interpolation in ("bilinear", "bicubic")

    def whole_size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of an image after resizing with one of these."""
        if self.resize in ("range", "edges"):
            return self.size_within(height, width)
        factors = self.size[0] / height, self.size[1] / width
        if self.resize == "inside":
            return max(1, int(height * min(factors))), max(1, int(width * min(factors)))
        if self.resize == "cover":
            factor = max(factors)
        else:
            factor = factors[1] if abs(1 - factors[1]) < abs(1 - factors[0]) else factors[0]
        rows, columns = (max(1, round(factor * length / self.multiple)) for length in (height, width))
        return rows * self.multiple, columns * self.multiple

    def size_within(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of an image after resizing with ``range`` or ``edges``."""
        short: float = min(self.size)
        long = max(self.size)
        if max(height, width) / min(height, width) * short > long:
            short = long * min(height, width) / max(height, width)
        if self.resize == "range":
            short = round(short)
        if short < 1:  # thinner than one pixel
            return (1, long) if height <= width else (long, 1)
        if height <= width:
            return round(short), int(short * width / height)
        return int(short * height / width), round(short)

    def size_covering(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of an image after resizing with ``shortest``, before the centre crop.

        The limiting side is exact, the other one is truncated to whole pixels, in integers as in torchvision.
        """
        target_h, target_w = self.resize_size
        if target_h * width >= target_w * height:
            return target_h, target_h * width // height
        return target_w * height // width, target_w

    @property
    def resize_size(self) -> tuple[int, int]:
        """(H, W) that the image covers before the centre crop."""
        height, width = (math.floor(length / self.crop_pct + 1e-6) for length in self.size)  # 224 / (224 / 236) is 236
        return height, width

    def normalize(self, image: Image.Image | Tensor) -> Tensor:
        """An image of the model's size -> ``[C, H, W]`` float32, in the value range, less mean, over std."""
        pixels = (image if isinstance(image, Tensor) else px.to_tensor(image)).contiguous()
        if pixels.shape[0] != self.channels:
            raise ConfigError(f"the image has {pixels.shape[0]} channels, the model expects {self.channels}")
        low, high = self.value_range
        values = px.to_unit(pixels)
        if (low, high) != (0.0, 1.0):
            values = values * (high - low) + low
        return px.normalize(values, self.mean, self.std)

    def denormalize(self, images: Tensor) -> Tensor:
        """The inverse of :meth:`normalize`: ``[..., C, H, W]`` -> values in [0, 1], for display."""
        return self.levels(images).clamp(0, 1)

    def levels(self, images: Tensor) -> Tensor:
        """Normalised ``[..., C, H, W]`` -> black at 0 and white at 1; augmented values may be outside of [0, 1]."""
        mean, std = (torch.tensor(x, device=images.device)[:, None, None] for x in (self.mean, self.std))
        low, high = self.value_range
        return (images * std + mean - low) / (high - low)

    def standardise(self, levels: Tensor) -> Tensor:
        """The inverse of :meth:`levels`."""
        mean, std = (torch.tensor(x, device=levels.device)[:, None, None] for x in (self.mean, self.std))
        low, high = self.value_range
        return (levels * (high - low) + low - mean) / std

    @property
    def mean_levels(self) -> list[float]:
        """The level between black (0) and white (1) that is normalised to 0, for each channel."""
        low, high = self.value_range
        return [(mean - low) / (high - low) for mean in self.mean]

    def box_of(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The part of an image of (H, W) pixels that is the model's input: (left, top, right, bottom) in the image's
        pixels.

        With ``pad`` it extends beyond the image.
        """
        height, width = size
        if self.keeps_aspect:
            return 0.0, 0.0, float(width), float(height)
        if self.resize == "exact":
            h, w = (length * n / full for length, n, full in zip(size, self.size, self.resize_size))
            return (width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2
        if self.resize == "pad":
            factor = min(self.size[0] / height, self.size[1] / width)
        else:
            factor = max(full / length for full, length in zip(self.resize_size, (height, width)))
        h, w = self.size[0] / factor, self.size[1] / factor
        return (width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2

    def describe(self) -> str:
        """A one-line description."""
        resize = {
            "shortest": f"resized to cover {self.size[0]} x {self.size[1]}, centre crop of {self.crop_pct:.1%}",
            "exact": f"stretched to {self.size[0]} x {self.size[1]}, centre crop of {self.crop_pct:.1%}",
            "pad": f"padded to {self.size[0]} x {self.size[1]}",
            "inside": f"scaled to fit inside {self.size[0]} x {self.size[1]}",
            "closest": f"one side of {self.size[0]} x {self.size[1]}, multiples of {self.multiple}",
            "cover": f"scaled to cover {self.size[0]} x {self.size[1]}, multiples of {self.multiple}",
            "edges": f"shorter side {min(self.size)}, longer side at most {max(self.size)}",
            "range": f"shorter side {min(self.size)}, longer side at most {max(self.size)}",
        }[self.resize]
        return f"{self.channels} channels, {resize}, {self.interpolation}, mean {self.mean}, std {self.std}"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return build_config(cls, values, "preprocessing.")

    def _resize(self, image: Image.Image | Tensor, size: tuple[int, ...]) -> Image.Image | Tensor:
        height, width = px.get_size(image)
        if self._is_too_large(size, height, width):
            raise ImageError(
                f"an image of {width} x {height} pixels is too thin: it would be scaled to {size[1]} x "
                f"{size[0]}; crop it, or use resize: pad"
            )
        if px.get_size(image) == tuple(size):
            return image
        return resize_image(image, size, self.interpolation)

    def _is_too_large(self, size: tuple[int, ...], height: int, width: int) -> bool:
        """Whether an image would be scaled to an excessive number of pixels."""
        allowed = max(MAX_RESIZED, MAX_RATIO * self.size[0] * self.size[1])
        return size[0] * size[1] > max(allowed, height * width)

    def _middle(
        self, image: Image.Image | Tensor, scaled: tuple[int, int]
    ) -> tuple[Image.Image | Tensor, tuple[int, int]]:
        """The middle part of a thin image that :meth:`fit` uses, and the size to scale it to: the pixels are those of
        the whole image scaled to `scaled`, shifted by less than one if the factor is not an integer."""
        height, width = px.get_size(image)
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise ImageError(
                f"an image of {width} x {height} pixels is too thin: one side is more than {MAX_ASPECT:,} times the "
                "other; crop it, or use resize: pad"
            )
        axis = int(width > height)
        length, factor = (height, width)[axis], scaled[axis] / (height, width)[axis]
        # As much is cut off at both ends, so that the centre stays; filters reach three pixels beyond what is seen.
        cut = max(0, math.floor((length - self.size[axis] / factor) / 2) - 4)
        corners = [0, 0, height, width]
        corners[axis], corners[2 + axis] = cut, length - 2 * cut
        size = list(scaled)
        size[axis] = round((length - 2 * cut) * factor)
        return px.crop(image, *corners), (size[0], size[1])

    def _background(self, image: Image.Image | Tensor) -> list[float]:
        """The pixel values that are normalised to 0."""
        levels = self.mean_levels
        return levels if _is_float(image) else [round(255 * level) for level in levels]


def resize_image(image: Image.Image | Tensor, size: Sequence[int], interpolation: Interpolation) -> Any:
    """An image at a size of (H, W) pixels, with antialiasing.

    A tensor of 8-bit levels is rounded between the two passes, like a PIL image. Pillow 13 runs the vertical pass first
    if the reduction of rows is more than twice that of columns; tensors do the same here, since differences would
    otherwise reach 20 levels.
    """
    height, width = px.get_size(image)
    levels = isinstance(image, Tensor) and not image.is_floating_point()
    if levels and height - size[0] > max(0, 2 * (width - size[1])):
        image = px.resize(image, (size[0], width), interpolation)
    return px.resize(image, size, interpolation)


def _is_float(image: Image.Image | Tensor) -> bool:
    return isinstance(image, Tensor) and image.is_floating_point()
