"""Fit a predicted depth map to the ground truth, if its loss does not determine scale or shift.

Pixels without depth are NaN in the target and are ignored.
"""

import torch
from torch import Tensor

from saccade.tasks.dense.config import Alignment

SMALLEST = 1e-3  # metres, and of an inverse depth: what is nearer to 0 is raised to it


def best_scale_and_shift(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The s and t of each image that minimise ``|s pred + t - target|²``.

    Args:
        pred: ``[B, ...]``.
        target: ``[B, ...]``, NaN where unknown.

    Returns:
        s and t, ``[B, 1]`` each; s is 0 for an image whose prediction is constant.
    """
    x, y = pred.flatten(1), target.flatten(1)
    valid = ~y.isnan()
    count = valid.sum(1, keepdim=True).clamp(min=1)
    y = y.nan_to_num() * valid
    mean_x, mean_y = (x * valid).sum(1, keepdim=True) / count, y.sum(1, keepdim=True) / count
    centred = (x - mean_x) * valid
    variance = centred.square().sum(1, keepdim=True)
    scale = (centred * (y - mean_y)).sum(1, keepdim=True) / variance.clamp(min=1e-9)
    return scale, mean_y - scale * mean_x


def median(values: Tensor) -> Tensor:
    """The median over the last dimension; for an even count the mean of the two middle values, of which torch takes the
    lower one.

    Args:
        values: ``[..., n]``, n at least 1.
    """
    ordered, count = values.sort(dim=-1).values, values.shape[-1]
    return (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2


def measurable(target: Tensor, max_depth: float | None) -> Tensor:
    """The ground truth in metres, with NaN at and beyond `max_depth`."""
    return target if max_depth is None else torch.where(target < max_depth, target, torch.nan)


def aligned_depth(
    pred: Tensor, target: Tensor, alignment: Alignment, *, inverse: bool, max_depth: float | None = None
) -> Tensor:
    """A prediction of one image in metres, fitted to its ground truth.

    Args:
        pred: ``[H, W]``, metres or inverse depth.
        target: ``[H, W]`` metres, NaN where it is not known.
        alignment: "none"; "scale", the ratio of the medians; "scale-shift", least squares on the inverse depth.
        inverse: whether `pred` is an inverse depth, which only "scale-shift" turns into metres.
        max_depth: metres; pixels with a farther target are excluded from the fit, and farther predictions are clamped
            to it. Without it the fit of an inverse depth may reach 1,000 m, and few such pixels dominate the RMSE.

    Returns:
        ``[H, W]`` metres, float32, at least 0.001.
    """
    pred, target = pred.double(), measurable(target.double(), max_depth)
    if alignment == "scale-shift":
        inverse_depth = pred if inverse else 1 / pred.clamp(min=SMALLEST)
        scale, shift = best_scale_and_shift(inverse_depth[None], 1 / target[None])
        smallest = SMALLEST if max_depth is None else 1 / max_depth
        return (1 / (scale * inverse_depth + shift).clamp(min=smallest)).float().clamp(min=SMALLEST)
    if inverse:
        raise ValueError('an inverse depth up to scale and shift needs alignment="scale-shift"')
    valid = ~target.isnan()
    if alignment == "scale" and valid.any():
        pred = pred * (median(target[valid]) / median(pred[valid]).clamp(min=SMALLEST))
    return pred.clamp(min=SMALLEST, max=max_depth).float()
