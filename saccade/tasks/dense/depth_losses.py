"""Losses of depth, as sums from which means are computed.

    silog    sqrt(mean(g²) - λ mean(g)²), g = log pred - log target, of an image     (Eigen et al., arXiv 1406.2283)
    ssitrim  trimmed mean of |d - d*|, both moved to a median of 0 and scaled to a mean absolute deviation of 1
                                                                                     (Ranftl et al., arXiv 1907.01341)
    ssi      |s d + t - d*| after the scale s and shift t of the inverse depth with the least squared error

The root and λ = 0.85 of silog follow Lee et al. (arXiv 1907.10326). ssitrim with the gradient term is the loss that
MiDaS was trained with. ssi is not one of Ranftl's losses: its errors are not trimmed, and have the unit of the ground
truth. Pixels without depth (NaN) are ignored. B images, H x W pixels.
"""

import torch
from torch import Tensor

from saccade.tasks.dense.alignment import SMALLEST, best_scale_and_shift, median

LAMBDA = 0.85  # of the common scale that silog leaves open
TRIM = 0.2  # fraction of the valid pixels of an image, those with the largest errors, that ssitrim leaves out
SMALLEST_DEVIATION = 1e-6


def silog_loss(pred: Tensor, target: Tensor) -> Tensor:
    """The scale-invariant logarithmic error of each image, the sum over images; 0 for images without a valid pixel.

    Args:
        pred: ``[B, H, W]`` metres.
        target: ``[B, H, W]`` metres, NaN where it is not known.
    """
    valid = ~target.isnan()
    count = valid.flatten(1).sum(1)
    logs = pred.clamp(min=SMALLEST).log() - torch.where(valid, target, 1.0).log()
    logs = torch.where(valid, logs, 0.0).flatten(1)
    mean, mean_square = (values.sum(1) / count.clamp(min=1) for values in (logs, logs.square()))
    errors = (mean_square - LAMBDA * mean.square()).clamp(min=1e-12).sqrt()
    return (errors * (count > 0)).sum()


def l1_loss(pred: Tensor, target: Tensor) -> Tensor:
    """|pred - target| in metres, the sum over valid pixels; ``[B, H, W]`` each."""
    valid = ~target.isnan()
    return (pred[valid] - target[valid]).abs().sum()


def aligned_error(pred: Tensor, target: Tensor) -> Tensor:
    """s pred + t - target with the best scale s and shift t of each image; 0 where the target is NaN; ``[B, H, W]``."""
    scale, shift = best_scale_and_shift(pred, target)
    return torch.where(target.isnan(), 0.0, scale[:, None] * pred + shift[:, None] - target)


def gradient_sum(error: Tensor, valid: Tensor) -> Tensor:
    """|difference| between neighbours of ``[B, h, w]`` in both directions, the sum over pairs that are both valid."""
    down, right = (error[:, 1:] - error[:, :-1]).abs(), (error[:, :, 1:] - error[:, :, :-1]).abs()
    return (down * (valid[:, 1:] & valid[:, :-1])).sum() + (right * (valid[:, :, 1:] & valid[:, :, :-1])).sum()


def normalized(disparity: Tensor, valid: Tensor) -> Tensor:
    """Inverse depths ``[B, H, W]`` minus their median, divided by their mean absolute deviation from it, over the valid
    pixels of each image; 0 elsewhere."""
    rows = []
    for values, row_valid in zip(disparity, valid):
        if not row_valid.any():
            rows.append(torch.zeros_like(values) * values)
            continue
        centred = values - median(values[row_valid])
        deviation = centred[row_valid].abs().mean().clamp(min=SMALLEST_DEVIATION)
        rows.append(torch.where(row_valid, centred / deviation, 0.0))
    return torch.stack(rows)


def ssitrim_loss(error: Tensor, valid: Tensor) -> Tensor:
    """1 / (2 M) times the sum of the smallest 80 % of the absolute errors of an image with M valid pixels, the sum over
    images (Ranftl et al., arXiv 1907.01341, equation 7).

    Args:
        error: between normalized inverse depths, ``[B, H, W]``.
        valid: ``[B, H, W]`` boolean.
    """
    totals = []
    for row, row_valid in zip(error, valid):
        errors = row[row_valid].abs().sort().values
        totals.append(errors[: int((1 - TRIM) * len(errors))].sum() / (2 * max(len(errors), 1)))
    return torch.stack(totals).sum()


def gradient_means(error: Tensor, valid: Tensor) -> Tensor:
    """The gradient term of each image over its valid pixels, the sum over images; as :func:`gradient_sum`."""
    rows = [gradient_sum(e[None], v[None]) / v.sum().clamp(min=1) for e, v in zip(error, valid)]
    return torch.stack(rows).sum()
