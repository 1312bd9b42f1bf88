"""Fit a predicted depth map to the ground truth, as far as its loss leaves scale and shift open.

A pixel without a depth is NaN in the target and does not count.
"""

from torch import Tensor

from saccade.tasks.dense.config import Alignment

SMALLEST = 1e-3  # metres, and of an inverse depth: what is nearer to 0 is raised to it


def best_scale_and_shift(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The s and t of each image that minimise ``|s pred + t - target|²``.

    Args:
        pred: ``[B, ...]``.
        target: ``[B, ...]``, NaN where it is not known.

    Returns:
        s and t, ``[B, 1]`` each; s is 0 for an image whose prediction is constant.
    """
    x, y = pred.flatten(1), target.flatten(1)
    known = ~y.isnan()
    count = known.sum(1, keepdim=True).clamp(min=1)
    y = y.nan_to_num() * known
    mean_x, mean_y = (x * known).sum(1, keepdim=True) / count, y.sum(1, keepdim=True) / count
    centred = (x - mean_x) * known
    variance = centred.square().sum(1, keepdim=True)
    scale = (centred * (y - mean_y)).sum(1, keepdim=True) / variance.clamp(min=1e-9)
    return scale, mean_y - scale * mean_x


def aligned_depth(pred: Tensor, target: Tensor, alignment: Alignment, *, inverse: bool) -> Tensor:
    """A prediction of one image in metres, fitted to its ground truth.

    Args:
        pred: ``[H, W]``, metres or inverse depth.
        target: ``[H, W]`` metres, NaN where it is not known.
        alignment: "none"; "scale", the ratio of the medians; "scale-shift", least squares on the inverse depth.
        inverse: whether `pred` is an inverse depth, which only "scale-shift" turns into metres.

    Returns:
        ``[H, W]`` metres, float32, at least 0.001.
    """
    pred, target = pred.double(), target.double()
    if alignment == "scale-shift":
        inverse_depth = pred if inverse else 1 / pred.clamp(min=SMALLEST)
        scale, shift = best_scale_and_shift(inverse_depth[None], 1 / target[None])
        return (1 / (scale * inverse_depth + shift).clamp(min=SMALLEST)).float()
    if inverse:
        raise ValueError('an inverse depth up to scale and shift needs alignment="scale-shift"')
    known = ~target.isnan()
    if alignment == "scale" and known.any():
        pred = pred * (target[known].median() / pred[known].median().clamp(min=SMALLEST))
    return pred.clamp(min=SMALLEST).float()
