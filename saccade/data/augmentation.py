"""What training adds to images, as a function of (seed, epoch, image) or (seed, step) and of nothing else.

Per image, in the loader's workers: random resized crop, flip, RandAugment, colour jitter, erasing, all torchvision's.
Per batch, on the device of the model: rotation, shift and scaling; mixup and cutmix. Neither depends on the number of
workers or processes: parameters of a batch are drawn for the whole batch, and each process takes its rows.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from saccade.data.config import AffineConfig, AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.errors import ConfigError

GENERATOR_BITS = 2**63


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


class TrainTransform:
    """Preprocessing with random crops, flips, colours and erasing."""

    def __init__(self, preprocessing: Preprocessing, config: AugmentationConfig):
        self.preprocessing = preprocessing
        self.geometry = _geometry(preprocessing, config)
        self.flip = config.flip
        self.colours = _colours(config)
        noise: Any = "random"  # documented, but typed as a number
        self.erasing = v2.RandomErasing(config.erasing, value=noise) if config.erasing else None
        self.deterministic = not (self.geometry or self.flip or self.colours or self.erasing)

    def __call__(self, image: Image.Image, key: Sequence[int]) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix_seed(*key))
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


def _colours(config: AugmentationConfig) -> v2.Transform | None:
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


class BatchAugmentation:
    """What happens to a whole batch at once, on its device.

    Args:
        config: affine, mixup and cutmix.
        num_classes: width K of the mixed targets.
        seed: of the run.
    """

    def __init__(self, config: AugmentationConfig, num_classes: int, seed: int):
        if config.mixup < 0 or config.cutmix < 0:
            raise ConfigError("augmentation.mixup and augmentation.cutmix must not be negative; 0 switches them off")
        self.config = config
        self.num_classes = num_classes
        self.seed = seed

    def __call__(self, batch: Batch, *, step: int, rows: slice, batch_size: int) -> Batch:
        """Augment some rows of the batch of `step`.

        Args:
            batch: images of those rows, on any device.
            rows: which rows of the whole batch they are. With mixing, `rows.start` and their number must be even.
            batch_size: rows of the whole batch, over all processes.
        """
        generator = torch.Generator().manual_seed(mix_seed(self.seed, step, 1))
        images, labels = batch.images, batch.labels
        if self.config.affine is not None:
            theta = affine_matrices(self.config.affine, batch_size, images.shape[-2:], generator)[rows]
            images = warp(images, theta.to(images.device))
        if self.config.mixup or self.config.cutmix:
            images, labels = self._mix(images, labels, generator)
        return batch._replace(images=images, labels=labels)

    def _mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix each image with its neighbour: rows 0 and 1, 2 and 3 … Neighbours in a shuffled batch are random pairs,
        and they are in the same process however many there are."""
        partner = torch.arange(len(images), device=images.device) ^ 1
        partner = partner.clamp(max=len(images) - 1)  # the last of an odd number stays alone
        targets = F.one_hot(labels, self.num_classes).float()
        cut = bool(self.config.cutmix) and (not self.config.mixup or torch.rand((), generator=generator).item() < 0.5)
        share = _beta(self.config.cutmix if cut else self.config.mixup, generator)
        if cut:
            height, width = images.shape[-2:]
            top, bottom, left, right = _rectangle(height, width, 1 - share, generator)
            images = images.clone()
            images[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
            share = 1 - (bottom - top) * (right - left) / (height * width)
        else:
            images = images * share + images[partner] * (1 - share)
        return images, targets * share + targets[partner] * (1 - share)


def affine_matrices(
    config: AffineConfig, count: int, size: tuple[int, ...] | torch.Size, generator: torch.Generator
) -> Tensor:
    """Random rotations, sizes and shifts as ``[count, 2, 3]``: where in the input each place of the output is sampled.

    Angles stay angles on images that are not square.
    """
    height, width = size

    def uniform(extent: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * extent

    angle, scale = uniform(math.radians(config.degrees)), 1 + uniform(config.scale)
    shift_x, shift_y = uniform(2 * config.translate), uniform(2 * config.translate)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = (
        torch.stack((cos, -sin * height / width, shift_x), -1),
        torch.stack((sin * width / height, cos, shift_y), -1),
    )
    return torch.stack(rows, dim=1)


def warp(images: Tensor, theta: Tensor) -> Tensor:
    """Sample ``[B, C, H, W]`` at affine places ``[B, 2, 3]``; beyond the edge the edge goes on.

    Bicubic, because a bilinear shift by half a pixel blurs, and a model that learns from blurred images is tested on
    sharp ones.
    """
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


def mix_seed(*numbers: int) -> int:
    """One well-mixed seed in [0, 2^63) from several numbers: close numbers give unrelated seeds."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & (2**64 - 1))) & (2**64 - 1)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)  # the finaliser of splitmix64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        state = (state ^ (state >> 31)) + 0x9E3779B97F4A7C15
    return state % GENERATOR_BITS


def _beta(alpha: float, generator: torch.Generator) -> float:
    """One number from Beta(alpha, alpha)."""
    first, second = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator).tolist()
    return first / max(first + second, 1e-300)


def _rectangle(height: int, width: int, area: float, generator: torch.Generator) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a rectangle of that share of the area, cut off at the image's edges."""
    y, x = (int(torch.randint(n, (), generator=generator)) for n in (height, width))
    half_h, half_w = int(height * math.sqrt(area)) // 2, int(width * math.sqrt(area)) // 2
    return max(y - half_h, 0), min(y + half_h, height), max(x - half_w, 0), min(x + half_w, width)
