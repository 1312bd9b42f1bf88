"""Augmentation of whole batches on the device of the model, in this order: with ``where="batch"`` pad and crop, flip,
colours; normalisation; with ``where="batch"`` erasing; rotation, translation and scaling; mixup or cutmix.

Every random draw is a function of (seed, step) and the row. Random numbers are drawn for the whole batch and each
process uses those of its rows, so the result depends neither on the number of processes nor on the number of loader
workers.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.data.augmentation import ERASED_AREA, ERASED_RATIO, colour_transform
from saccade.data.config import AffineConfig, AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.data.seeding import RandomStream, mix_seed
from saccade.errors import ConfigError

GROUP = 16  # consecutive images with the same colour operations, applied in one call


class BatchAugmentation:
    """Augments and normalises batches.

    Args:
        config: config of the run; crops, flips, colours and erasing are applied here only with ``where="batch"``.
        preprocessing: preprocessing of the model, for the normalisation.
        num_classes: width K of the targets of mixup and cutmix.
        seed: of the run.
    """

    def __init__(self, config: AugmentationConfig, preprocessing: Preprocessing, num_classes: int, seed: int):
        if config.mixup < 0 or config.cutmix < 0:
            raise ConfigError("augmentation.mixup and augmentation.cutmix must be at least 0 (off)")
        self.on_batch = config.where == "batch"
        if self.on_batch and config.crop_scale is not None:
            raise ConfigError(
                "augmentation.where=batch has no resized crops: set augmentation.crop_scale=null and, for crops, "
                "augmentation.pad_crop=4"
            )
        self.config = config
        self.preprocessing = preprocessing
        self.num_classes = num_classes
        self.seed = seed
        if self.on_batch and config.randaugment.startswith("rand"):
            raise ConfigError(
                f"augmentation.randaugment={config.randaugment} works on single images: set augmentation.where=image, "
                "or use torchvision's, such as 2x9"
            )
        self.colours = colour_transform(config, preprocessing) if self.on_batch else None

    def __call__(self, batch: Batch, *, step: int, rows: slice, batch_size: int) -> Batch:
        """Augment some rows of the batch of `step`.

        Args:
            batch: the images of those rows, on any device: uint8 pixels, or normalised.
            rows: their rows in the whole batch. For mixup and cutmix `rows.start` and the number of rows must be even.
            batch_size: number of rows of the whole batch, over all processes.
        """
        images, labels = batch.inputs, batch.labels
        if self.on_batch:
            images = self._augment_pixels(images, step, rows, batch_size)
        images = self.normalize(images)
        if self.on_batch and self.config.erasing:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, step, RandomStream.ERASING))
            boxes = erasing_boxes(self.config.erasing, batch_size, images.shape[-2:], generator)[rows]
            noise = torch.randn(images.shape[1:], generator=generator)  # the same for all images, in other boxes
            images = erase(images, boxes, noise.to(images.device))
        generator = torch.Generator().manual_seed(mix_seed(self.seed, step, RandomStream.MIXING))
        if self.config.affine is not None:
            theta = affine_matrices(self.config.affine, batch_size, images.shape[-2:], generator)[rows]
            images = warp(images, theta.to(images.device))
        if self.config.mixup or self.config.cutmix:
            images, labels = self._mix(images, batch.classes, generator)
        return batch._replace(inputs=images, labels=labels)

    def plain(self, batch: Batch) -> Batch:
        """The batch normalised, without augmentation, as in evaluation."""
        return batch._replace(inputs=self.normalize(batch.inputs))

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels ``[B, C, H, W]`` uint8 -> normalised float32; float images are returned unchanged."""
        return self.preprocessing.standardise(images.float() / 255) if images.dtype == torch.uint8 else images

    def _augment_pixels(self, images: Tensor, step: int, rows: slice, batch_size: int) -> Tensor:
        """Crop, flip and colour uint8 pixels."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, step, RandomStream.GEOMETRY))
        if self.config.pad_crop:
            corners = torch.randint(2 * self.config.pad_crop + 1, (batch_size, 2), generator=generator)
            images = crop_padded(images, self.config.pad_crop, corners[rows].to(images.device))
        if self.config.flip:
            flip = (torch.rand(batch_size, generator=generator) < self.config.flip)[rows].to(images.device)
            images = torch.where(flip[:, None, None, None], images.flip(-1), images)
        if self.colours is not None:
            parts = []
            # Groups are cut by the row in the whole batch, so that two processes draw the colours of one.
            edges = [rows.start, *range((rows.start // GROUP + 1) * GROUP, rows.stop, GROUP), rows.stop]
            with torch.random.fork_rng(devices=[]):
                for start, stop in pairwise(edges):
                    torch.manual_seed(mix_seed(self.seed, step, RandomStream.COLOUR, start // GROUP))
                    parts.append(self.colours(images[start - rows.start : stop - rows.start]))
            images = torch.cat(parts)
        return images

    def _mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix each image with its neighbour: rows 0 and 1, 2 and 3 … In a shuffled batch these are random pairs, and
        both are in the same process."""
        partner = torch.arange(len(images), device=images.device) ^ 1
        partner = partner.clamp(max=len(images) - 1)  # the last of an odd number is not mixed
        targets = F.one_hot(labels, self.num_classes).float()
        use_cutmix = bool(self.config.cutmix) and (
            not self.config.mixup or torch.rand((), generator=generator).item() < 0.5
        )
        weight = _beta(self.config.cutmix if use_cutmix else self.config.mixup, generator)
        if use_cutmix:
            height, width = images.shape[-2:]
            top, bottom, left, right = _rectangle(height, width, 1 - weight, generator)
            images = images.clone()
            images[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
            weight = 1 - (bottom - top) * (right - left) / (height * width)
        else:
            images = images * weight + images[partner] * (1 - weight)
        return images, targets * weight + targets[partner] * (1 - weight)


def crop_padded(images: Tensor, margin: int, corners: Tensor) -> Tensor:
    """Crops of the images' own size from ``[B, C, H, W]`` with black margins; top left corners ``[B, 2]`` (y, x)."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (margin,) * 4)
    y = corners[:, 0, None] + torch.arange(height, device=images.device)  # [B, H]
    x = corners[:, 1, None] + torch.arange(width, device=images.device)
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[:, None, None]
    return padded[batch, channel, y[:, None, :, None], x[:, None, None, :]]


def erasing_boxes(
    probability: float, count: int, size: tuple[int, ...] | torch.Size, generator: torch.Generator
) -> Tensor:
    """(top, bottom, left, right) of a rectangle for each image, ``[count, 4]``; empty for images that are not erased.

    2 % to a third of the area, aspect ratios from 0.3 to 1 / 0.3 (Zhong et al., arXiv 1708.04896).
    """
    height, width = size
    selection, fraction, ratio, y, x = torch.rand(5, count, generator=generator)
    (smallest, largest), (flat, tall) = ERASED_AREA, ERASED_RATIO
    area = (smallest + fraction * (largest - smallest)) * height * width
    aspect = (math.log(flat) + ratio * (math.log(tall) - math.log(flat))).exp()
    rows = (area * aspect).sqrt().round().clamp(1, height)
    columns = (area / aspect).sqrt().round().clamp(1, width)
    rows = torch.where(selection < probability, rows, 0)
    top, left = (y * (height - rows + 1)).floor(), (x * (width - columns + 1)).floor()
    return torch.stack((top, top + rows, left, left + columns), dim=1)


def erase(images: Tensor, boxes: Tensor, noise: Tensor) -> Tensor:
    """Replace the box ``[B, 4]`` of each image ``[B, C, H, W]`` by noise ``[C, H, W]``."""
    top, bottom, left, right = boxes.to(images.device).T[:, :, None, None]
    y = torch.arange(images.shape[-2], device=images.device)[:, None]
    x = torch.arange(images.shape[-1], device=images.device)
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)  # [B, H, W]
    return torch.where(inside[:, None], noise, images)


def affine_matrices(
    config: AffineConfig, count: int, size: tuple[int, ...] | torch.Size, generator: torch.Generator
) -> Tensor:
    """Random rotations, scales and translations as ``[count, 2, 3]``, from output to input coordinates.

    The aspect ratio is taken into account, so that angles are preserved.
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
    """Warp ``[B, C, H, W]`` by affine matrices ``[B, 2, 3]``, with the border repeated.

    Bicubic, because bilinear resampling blurs and the model is evaluated on sharp images.
    """
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """One number from Beta(alpha, alpha)."""
    first, second = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator).tolist()
    return first / max(first + second, 1e-300)


def _rectangle(height: int, width: int, area: float, generator: torch.Generator) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a rectangle with that fraction of the area, clipped to the image."""
    y, x = (int(torch.randint(n, (), generator=generator)) for n in (height, width))
    half_h, half_w = int(height * math.sqrt(area)) // 2, int(width * math.sqrt(area)) // 2
    return max(y - half_h, 0), min(y + half_h, height), max(x - half_w, 0), min(x + half_w, width)
