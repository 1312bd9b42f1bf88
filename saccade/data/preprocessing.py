"""What evaluation does to an image, as plain data that travels with a model.

A picture is resized, cropped, scaled to a range and normalised; which way, decides what a model sees, so a checkpoint
without it is not complete. Training adds to it (`augmentation.py`) and never replaces it.
"""

import math
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal

import torch
import torchvision.transforms.v2.functional as functional
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from saccade.errors import ConfigError

# Typed for tensors, these functions take PIL images just as well.
F: Any = functional

Resize = Literal["shortest", "exact", "pad", "range"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Image in, tensor ``[C, H, W]`` out.

    Attributes:
        size: (H, W) in pixels of what the model sees.
        resize: ``shortest`` scales the image until it covers ``size / crop_pct``, ``exact`` squeezes it to exactly
            that, and the middle is cut out; ``pad`` scales it until it fits inside and fills the rest with the mean;
            ``range`` scales the shorter side to the smaller number unless the longer one would pass the larger, and
            keeps the shape (detectors).
        crop_pct: the share of the sides that the crop keeps, in (0, 1]; not for ``pad``.
        interpolation: how pixels are resampled (with antialiasing when shrinking, as PIL does).
        channels: 1 for grey, 3 for colour; other numbers take tensors only.
        value_range: what black and white become, before mean and std.
        mean, std: subtracted and divided by, one number a channel.
    """

    size: tuple[int, int] = (224, 224)
    resize: Resize = "shortest"
    crop_pct: float = 0.875
    interpolation: Interpolation = "bicubic"
    channels: int = 3
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ConfigError(f"size must be two lengths in pixels, not {self.size}")
        if self.resize not in ("shortest", "exact", "pad", "range"):
            raise ConfigError(f"resize must be shortest, exact, pad or range, not {self.resize!r}")
        if self.interpolation not in ("nearest", "bilinear", "bicubic", "lanczos"):
            raise ConfigError(
                f"interpolation must be nearest, bilinear, bicubic or lanczos, not {self.interpolation!r}"
            )
        if not 0 < self.crop_pct <= 1:
            raise ConfigError(f"crop_pct must lie in (0, 1], not {self.crop_pct}")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ConfigError(f"{len(self.mean)} means and {len(self.std)} stds for {self.channels} channels")
        if min(self.std) <= 0:
            raise ConfigError(f"every std must be positive, not {self.std}")

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """A PIL image, or a tensor ``[C, H, W]`` with values in [0, 1] -> ``[C, *size]`` float32, normalised."""
        return self.normalize(self.fit(image))

    def in_colour(self, image: Image.Image | Tensor) -> Image.Image | Tensor:
        """A PIL image in grey for a model of colour, or the other way round, in the model's own mode."""
        mode = {1: "L", 3: "RGB"}.get(self.channels)
        return image.convert(mode) if isinstance(image, Image.Image) and mode else image

    def fit(self, image: Image.Image | Tensor) -> Image.Image | Tensor:
        """The image at the model's size, its values untouched."""
        height, width = F.get_size(image)
        if self.resize == "range":
            return self._resized(image, self.size_within(height, width))
        if self.resize == "pad":
            factor = min(self.size[0] / height, self.size[1] / width)
            inner = (max(1, round(height * factor)), max(1, round(width * factor)))
            top, left = (self.size[0] - inner[0]) // 2, (self.size[1] - inner[1]) // 2
            margins = [left, top, self.size[1] - inner[1] - left, self.size[0] - inner[0] - top]
            return F.pad(self._resized(image, inner), margins, fill=self._background(image))
        covered = self.covered
        if self.resize == "exact":
            return F.center_crop(self._resized(image, covered), list(self.size))
        factor = max(covered[0] / height, covered[1] / width)
        # The side that decides is exact; the other is cut to whole pixels, as torchvision and timm do.
        scaled = tuple(
            target if target / length == factor else max(target, int(length * factor))
            for target, length in zip(covered, (height, width))
        )
        return F.center_crop(self._resized(image, scaled), list(self.size))

    def size_within(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) that an image gets with ``range``."""
        short, long = min(self.size), max(self.size)
        if max(height, width) / min(height, width) * short > long:
            short = round(long * min(height, width) / max(height, width))
        if height <= width:
            return short, int(short * width / height)
        return int(short * height / width), short

    @property
    def covered(self) -> tuple[int, int]:
        """(H, W) that the image covers before its middle is cut out."""
        height, width = (math.floor(length / self.crop_pct + 1e-6) for length in self.size)  # 224 / (224 / 236) is 236
        return height, width

    def normalize(self, image: Image.Image | Tensor) -> Tensor:
        """An image of the model's size -> ``[C, H, W]`` float32, in the value range, less mean, over std."""
        pixels: Tensor = image if isinstance(image, Tensor) else F.pil_to_tensor(image)
        if pixels.shape[0] != self.channels:
            raise ConfigError(f"an image with {pixels.shape[0]} channels for a model of {self.channels}")
        low, high = self.value_range
        values: Tensor = F.to_dtype(pixels, torch.float32, scale=True)
        if (low, high) != (0.0, 1.0):
            values = values * (high - low) + low
        return F.normalize(values, list(self.mean), list(self.std))

    def denormalize(self, images: Tensor) -> Tensor:
        """The inverse of :meth:`normalize`: ``[..., C, H, W]`` -> values in [0, 1], for people to look at."""
        return self.levels(images).clamp(0, 1)

    def levels(self, images: Tensor) -> Tensor:
        """Normalised ``[..., C, H, W]`` -> black at 0 and white at 1; what augmentation made may lie outside."""
        mean, std = (torch.tensor(x, device=images.device)[:, None, None] for x in (self.mean, self.std))
        low, high = self.value_range
        return (images * std + mean - low) / (high - low)

    def standardise(self, levels: Tensor) -> Tensor:
        """The inverse of :meth:`levels`."""
        mean, std = (torch.tensor(x, device=levels.device)[:, None, None] for x in (self.mean, self.std))
        low, high = self.value_range
        return (levels * (high - low) + low - mean) / std

    def box_of(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """What the model sees of an image of (H, W) pixels, as (left, top, right, bottom) in that image's pixels.

        With ``pad`` it reaches beyond the image.
        """
        height, width = size
        if self.resize == "range":
            return 0.0, 0.0, float(width), float(height)
        if self.resize == "exact":
            h, w = (length * n / full for length, n, full in zip(size, self.size, self.covered))
            return (width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2
        if self.resize == "pad":
            factor = min(self.size[0] / height, self.size[1] / width)
        else:
            factor = max(full / length for full, length in zip(self.covered, (height, width)))
        h, w = self.size[0] / factor, self.size[1] / factor
        return (width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2

    def describe(self) -> str:
        """One line for people."""
        how = {
            "shortest": f"covering {self.size[0]} x {self.size[1]}, middle {self.crop_pct:.1%} kept",
            "exact": f"squeezed to {self.size[0]} x {self.size[1]}, middle {self.crop_pct:.1%} kept",
            "pad": f"fitted into {self.size[0]} x {self.size[1]}",
            "range": f"shorter side {min(self.size)} unless the longer would pass {max(self.size)}",
        }[self.resize]
        return f"{self.channels} channels, {how}, {self.interpolation}, mean {self.mean}, std {self.std}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        names = [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                close = get_close_matches(name, names, n=1)
                raise ConfigError(f"preprocessing has no {name!r}" + (f"; did you mean {close[0]}?" if close else ""))
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)

    def _resized(self, image: Image.Image | Tensor, size: tuple[int, ...]) -> Image.Image | Tensor:
        if tuple(F.get_size(image)) == tuple(size):
            return image
        mode = InterpolationMode(self.interpolation)
        return F.resize(image, list(size), interpolation=mode, antialias=self.interpolation != "nearest")

    def _background(self, image: Image.Image | Tensor) -> list[float]:
        """What becomes 0 after normalisation."""
        low, high = self.value_range
        levels = [(m - low) / (high - low) for m in self.mean]
        return levels if isinstance(image, Tensor) else [round(255 * level) for level in levels]
