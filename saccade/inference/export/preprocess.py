"""The preprocessing of a model as part of its graph: images of 8 bits in, the model's input out.

Resizing is two matrix products, along rows and along columns, whose weights are computed from the sizes of the images.
They are Pillow's: the filter widened by the factor of shrinking, its weights rounded to 22 binary places, the result
rounded to 8 bits after each product. A weight is the sum of two whole numbers of 11 binary places, so that the sums of
either are exact in single precision and the result has Pillow's bits; the weights themselves are computed in double
precision. A runtime without it (OpenVINO) has a few weights that differ in the last of their 22 places: distances are
ratios of whole numbers and the filters products of differences, which single precision rounds least.

B images, H x W pixels in, h x w pixels out, C channels.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError

BITS = 2.0**22  # of Pillow's weights behind the binary point
HALF = 2.0**11  # of each of their two parts


def triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def cubic(x: Tensor) -> Tensor:
    """Keys' filter with a = -0.5, in factors."""
    x = x.abs()
    inner = (1 - x) * (1 + x - 1.5 * x * x)
    outer = (1 - x) * (2 - x) * (2 - x) * 0.5
    return torch.where(x < 1, inner, torch.where(x < 2, outer, 0.0))


def lanczos(x: Tensor) -> Tensor:
    """The sinc windowed by a sinc three times as wide."""
    turns = math.pi * torch.where(x == 0, 1.0, x)
    value = turns.sin() / turns * (turns / 3).sin() / (turns / 3)
    return torch.where(x == 0, 1.0, torch.where((x >= -3) & (x < 3), value, 0.0))


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": triangle, "bicubic": cubic, "lanczos": lanczos}


class Axis(NamedTuple):
    """How one side of the images is resized, a number for each image, ``[B]`` or ``[1]`` float64."""

    length: Tensor  # pixels of the image
    scaled: Tensor  # pixels after resizing, before the crop
    start: Tensor  # place of the first output pixel among those; below 0 there is padding in front


class Weights(NamedTuple):
    """Whole numbers: a weight is ``high / 2**11 + low / 2**22``."""

    high: Tensor
    low: Tensor


class Prepared(NamedTuple):
    """What the model reads."""

    images: Tensor  # [B, C, h, w] float32, normalised; 0 outside of an image
    valid: Tensor  # [B, h, w] boolean, which pixels are image


class GraphPreprocessing(nn.Module):
    """A :class:`Preprocessing` that :func:`torch.export.export` can trace with any size of image.

    Args:
        preprocessing: of the model.

    Raises:
        ConfigError: the model does not read pictures of one or three channels, or resizes them by another filter.
    """

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        if preprocessing.channels not in (1, 3):
            raise ConfigError(
                f"the model reads images of {preprocessing.channels} channels: only models of grey or colour images "
                "are exported"
            )
        if preprocessing.interpolation not in FILTERS:
            raise ConfigError(
                f"images of this model are resized by {preprocessing.interpolation} interpolation, and exported graphs "
                f"have {', '.join(FILTERS)}"
            )
        self.preprocessing = preprocessing

    def forward(self, images: Tensor, sizes: Tensor | None = None) -> Prepared:
        """Images of 8 bits -> the model's input.

        Args:
            images: ``[B, H, W, C]`` uint8.
            sizes: ``[B, 2]`` int64, (H, W) of each image in a batch that is padded at the right and the bottom; all
                fill it by default.
        """
        if sizes is None:
            heights, widths = (torch.full((1,), images.shape[axis], dtype=torch.int64) for axis in (1, 2))
        else:
            heights, widths = sizes[:, 0], sizes[:, 1]
        rows, columns = self.axes(heights, widths)
        height, width = self.output_size(rows, columns)
        across = Weights(*(part.transpose(-1, -2) for part in self.weights(columns, width, images.shape[2])))
        down = self.weights(rows, height, images.shape[1])
        pixels = images.permute(0, 3, 1, 2).float()
        down_first = rows_first(rows, columns)
        both = resize_down_first(pixels, down, across), resize_across_first(pixels, down, across)
        pixels = torch.where(down_first[:, None, None, None], *both)
        valid = inside(rows, height)[:, :, None] & inside(columns, width)[:, None]
        return Prepared(self.normalize(pixels, valid), valid.expand(images.shape[0], -1, -1))

    def axes(self, heights: Tensor, widths: Tensor) -> tuple[Axis, Axis]:
        """How rows and columns are resized for images of these sizes, ``[B]`` int64 each."""
        p, h, w = self.preprocessing, heights.double(), widths.double()
        if p.keeps_aspect:
            scaled_h, scaled_w = self.whole_size(h, w)
            zero = torch.zeros_like(h)
            return Axis(h, scaled_h, zero), Axis(w, scaled_w, zero)
        if p.resize == "pad":
            factor = torch.minimum(p.size[0] / h, p.size[1] / w)
            scaled_h, scaled_w = (h * factor).round().clamp(min=1), (w * factor).round().clamp(min=1)
            top, left = (((s - side) / 2).ceil() for s, side in zip((scaled_h, scaled_w), p.size))
            return Axis(h, scaled_h, top), Axis(w, scaled_w, left)
        target_h, target_w = p.resize_size
        if p.resize == "exact":
            scaled_h, scaled_w = torch.full_like(h, target_h), torch.full_like(w, target_w)
        else:
            tall = target_h * widths >= target_w * heights  # the height is the limiting side
            other_w = torch.div(target_h * widths, heights, rounding_mode="floor")
            other_h = torch.div(target_w * heights, widths, rounding_mode="floor")
            scaled_h, scaled_w = (
                torch.where(tall, target_h, other_h).double(),
                torch.where(tall, other_w, target_w).double(),
            )
        top, left = (((s - side) / 2).round() for s, side in zip((scaled_h, scaled_w), p.size))
        return Axis(h, scaled_h, top), Axis(w, scaled_w, left)

    def whole_size(self, h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`Preprocessing.whole_size` of each image."""
        p = self.preprocessing
        if p.resize == "inside":
            factor = torch.minimum(p.size[0] / h, p.size[1] / w)
            return (h * factor).trunc().clamp(min=1), (w * factor).trunc().clamp(min=1)
        if p.resize in ("closest", "cover"):
            across, down = p.size[1] / w, p.size[0] / h
            nearer = across > down if p.resize == "cover" else (1 - across).abs() < (1 - down).abs()
            factor = torch.where(nearer, across, down)
            sides = ((factor * side / p.multiple).round().clamp(min=1) * p.multiple for side in (h, w))
            return next(sides), next(sides)
        short, long = float(min(p.size)), float(max(p.size))
        smaller, larger = torch.minimum(h, w), torch.maximum(h, w)
        limited = larger / smaller * short > long
        fitted = torch.where(limited, long * smaller / larger, short)
        if p.resize == "range":
            fitted = fitted.round()
        other = (fitted * larger / smaller).trunc()
        other, fitted = torch.where(fitted < 1, long, other), fitted.round().clamp(min=1)
        return torch.where(h <= w, fitted, other), torch.where(h <= w, other, fitted)

    def output_size(self, rows: Axis, columns: Axis) -> tuple[int, int]:
        """(h, w) of the model's input: its own size, or that of the largest image."""
        if not self.preprocessing.keeps_aspect:
            return self.preprocessing.size
        height, width = (cast(int, axis.scaled.max().long().item()) for axis in (rows, columns))
        torch._check(height >= 1)
        torch._check(width >= 1)
        return height, width

    def weights(self, axis: Axis, out: int, length: int) -> Weights:
        """The weight of each input pixel in each output pixel, ``[B, 1, out, length]`` float32; 0 outside of the
        resized image."""
        before, after = axis.length[:, None, None], axis.scaled[:, None, None]
        place = axis.start[:, None, None] + torch.arange(out, dtype=torch.float64)[:, None]
        column = torch.arange(length, dtype=torch.float64)
        # from the middle of the output pixel to that of the input pixel, in widths of the filter
        distance = ((2 * column + 1) * after - (2 * place + 1) * before) / (2 * torch.maximum(before, after))
        weights = torch.where(column < before, FILTERS[self.preprocessing.interpolation](distance), 0.0)
        weights = weights / weights.sum(-1, keepdim=True)
        whole = weights.sign() * (weights.abs() * BITS + 0.5).floor()
        whole = torch.where(inside(axis, out)[:, :, None], whole, 0.0)
        high = (whole / HALF).round()
        return Weights(high.float()[:, None], (whole - high * HALF).float()[:, None])

    def normalize(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Levels from 0 to 255 ``[B, C, h, w]`` -> normalised; 0, or the background of ``pad``, outside of an image."""
        p = self.preprocessing
        low, high = p.value_range
        mean, std, background = (
            torch.tensor(numbers, dtype=torch.float32)[:, None, None] for numbers in (p.mean, p.std, p.mean_levels)
        )
        if p.resize == "pad":
            pixels = torch.where(valid[:, None], pixels, (background * 255).round())
        values = pixels / 255
        if (low, high) != (0.0, 1.0):
            values = values * (high - low) + low
        values = (values - mean) / std
        return torch.where(valid[:, None], values, 0.0) if p.keeps_aspect else values


def resize_across_first(pixels: Tensor, down: Weights, across: Weights) -> Tensor:
    """Images ``[B, C, H, W]`` times the weights of columns ``[B, 1, W, w]``, then those of rows ``[B, 1, h, H]``."""
    between = levels(pixels @ across.high, pixels @ across.low)
    return levels(down.high @ between, down.low @ between)


def resize_down_first(pixels: Tensor, down: Weights, across: Weights) -> Tensor:
    """The same with the rows first."""
    between = levels(down.high @ pixels, down.low @ pixels)
    return levels(between @ across.high, between @ across.low)


def levels(high: Tensor, low: Tensor) -> Tensor:
    """Sums of levels times the two parts of weights -> the nearest level from 0 to 255."""
    return ((high + (low / HALF).floor() + HALF / 2) / HALF).floor().clamp(0, 255)


def rows_first(rows: Axis, columns: Axis) -> Tensor:
    """Whether Pillow (from version 13 on) resizes the height of an image before its width, ``[B]`` boolean."""
    fewer_rows, fewer_columns = rows.length - rows.scaled, columns.length - columns.scaled
    return (fewer_rows > 2 * fewer_columns) & (fewer_rows > 0)


def inside(axis: Axis, out: int) -> Tensor:
    """Which output pixels are in the resized image, ``[B, out]`` boolean."""
    place = axis.start[:, None] + torch.arange(out, dtype=torch.float64)
    return (place >= 0) & (place < axis.scaled[:, None])
