"""How far each pixel is: losses that forgive what cannot be known, and metrics after the right alignment.

    silog    sqrt(mean(g²) - λ mean(g)²), g = log said - log true       (Eigen et al., arXiv 1406.2283)
    ssi      |s d + t - d*| after the best scale s and shift t          (Ranftl et al., arXiv 1907.01341)

Pixels without a depth (NaN) count nowhere. B images, H x W pixels.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.errors import ConfigError
from saccade.tasks.predictions import Depth, DepthMetrics
from saccade.tasks.weights import DepthWeights

LAMBDA = 0.85  # of the common scale that silog forgives
SMALLEST = 1e-3  # metres, and of an inverse depth
NAMES = ("abs_rel", "rmse", "silog", "delta1", "delta2", "delta3")


class Values(Protocol):
    """What a model gives."""

    @property
    def values(self) -> Tensor: ...  # [B, H, W]


class DepthTask:
    """A depth for every pixel, in metres; or its inverse up to scale and shift, with the ssi loss."""

    name = "depth"
    labels: tuple[str, ...] = ()
    smallest_loss = 0.0

    def __init__(self, weights: DepthWeights | None = None):
        self.weights = weights or DepthWeights()

    @property
    def unit(self) -> str:
        """Of what the model says: metres, or nothing."""
        return "" if self.weights.loss == "ssi" else "m"

    def run(self, model: nn.Module, batch: Batch) -> Values:
        return model(batch.inputs)

    def step(self, outputs: Values, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(batch.labels, dict)
        said, true = outputs.values.float(), batch.labels["target"].float()
        losses = {"silog": silog_loss, "l1": l1_loss}
        if self.weights.loss == "ssi":
            loss = ssi_loss(said, 1 / true, self.weights.gradient_weight)
        else:
            loss = losses[self.weights.loss](said, true)
        with torch.no_grad():
            metrics = torch.stack([self.measured(s, t) for s, t in zip(said, true)])
        return loss, {"delta1": metrics[:, 3].nan_to_num().sum()}

    def measured(self, said: Tensor, true: Tensor) -> Tensor:
        """:data:`NAMES` of one image ``[H, W]``; NaN where it has no depth."""
        known = ~true.isnan()
        if not known.any():
            return torch.full((len(NAMES),), float("nan"), device=said.device)
        truth = true[known].double()
        depth = self.fitted(said, true)[known].double()
        ratio = torch.maximum(depth / truth, truth / depth)
        logs = depth.log() - truth.log()
        return torch.stack((
            ((depth - truth).abs() / truth).mean(), (depth - truth).square().mean().sqrt(),
            logs.var(correction=0).sqrt() * 100, *((ratio < 1.25**power).double().mean() for power in (1, 2, 3)),
        ))  # fmt: skip

    def fitted(self, said: Tensor, true: Tensor) -> Tensor:
        """What is said of one image ``[H, W]`` -> metres, after fitting to the truth what the alignment allows."""
        said, true = said.double(), true.double()
        if self.weights.loss == "ssi" or self.weights.alignment == "scale-shift":
            inverse = said if self.weights.loss == "ssi" else 1 / said.clamp(min=SMALLEST)
            scale, shift = best_scale_and_shift(inverse[None], 1 / true[None])
            return (1 / (scale * inverse + shift).clamp(min=SMALLEST)).float()
        if self.weights.alignment == "scale":
            said = said * (true.nanmedian() / said[~true.isnan()].median().clamp(min=SMALLEST))
        return said.clamp(min=SMALLEST).float()

    def keep(self, outputs: Values, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each image's metrics ``[B, 6]`` at the size of its map."""
        assert isinstance(batch.labels, dict)
        found = []
        for values, target, size in zip(outputs.values.float(), batch.labels["target"], batch.labels["sizes"].tolist()):
            at_size = F.interpolate(values[None, None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0]
            found.append(self.measured(at_size, target[: size[0], : size[1]]))
        kept = torch.stack(found).float().cpu()
        return kept, torch.zeros(len(kept), dtype=torch.long)

    def decode(self, outputs: Tensor, names: Sequence[str], *, top: int = 5) -> list[Depth]:
        """Metrics ``[B, 6]`` -> one row an image."""
        return [Depth(name, dict(zip(NAMES, row.tolist()))) for name, row in zip(names, outputs)]

    def truth(self, target: Tensor) -> Any:
        return None

    def measure(self, outputs: Tensor, targets: Tensor) -> DepthMetrics:
        """The mean over images, as the field reports it."""
        if len(outputs) == 0:
            raise ConfigError("there are no images to measure on")
        known = outputs[~outputs[:, 0].isnan()].double()
        values = dict(zip(NAMES, known.mean(0).tolist()))
        alignment = "scale-shift" if self.weights.loss == "ssi" else self.weights.alignment
        return DepthMetrics(**values, alignment=alignment, images=len(outputs))


def silog_loss(said: Tensor, true: Tensor) -> Tensor:
    """``[B, H, W]`` metres; over all known pixels of the batch."""
    known = ~true.isnan()
    if not known.any():
        return 0 * said.sum()
    logs = said[known].clamp(min=SMALLEST).log() - true[known].log()
    return (logs.square().mean() - LAMBDA * logs.mean().square()).clamp(min=1e-12).sqrt()


def l1_loss(said: Tensor, true: Tensor) -> Tensor:
    """Mean distance in metres over known pixels."""
    known = ~true.isnan()
    return (said[known] - true[known]).abs().mean() if known.any() else 0 * said.sum()


def ssi_loss(said: Tensor, true: Tensor, gradient_weight: float = 0.5, levels: int = 4) -> Tensor:
    """Inverse depths ``[B, H, W]``, NaN in `true` where unknown: mean distance after the best scale and shift of each
    image, and of the differences between neighbours at several sizes."""
    known = true.isfinite()
    scale, shift = best_scale_and_shift(said, torch.where(known, true, torch.nan))
    error = torch.where(known, scale[:, None] * said + shift[:, None] - true, 0.0)
    total = error.abs().sum() / known.sum().clamp(min=1)
    for level in range(levels if gradient_weight else 0):
        step = 2**level
        e, k = error[:, ::step, ::step], known[:, ::step, ::step]
        for axis in (1, 2):
            first, second = (slice(None, -1), slice(1, None))
            index = [(slice(None),) * axis + (s,) for s in (first, second)]
            both = k[index[0]] & k[index[1]]
            difference = (e[index[1]] - e[index[0]]).abs() * both
            total = total + gradient_weight * difference.sum() / k.sum().clamp(min=1)
    return total


def best_scale_and_shift(said: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """s and t of each image for which s said + t is nearest to true, least squares: ``[B, ...]`` -> ``[B, 1]`` each.

    NaN in `true` does not count; an image that says the same everywhere gets s = 0.
    """
    x, y = said.flatten(1), true.flatten(1)
    known = ~y.isnan()
    count = known.sum(1, keepdim=True).clamp(min=1)
    y = y.nan_to_num() * known
    mean_x, mean_y = (x * known).sum(1, keepdim=True) / count, y.sum(1, keepdim=True) / count
    centred = (x - mean_x) * known
    variance = centred.square().sum(1, keepdim=True)
    scale = (centred * (y - mean_y)).sum(1, keepdim=True) / variance.clamp(min=1e-9)
    return scale, mean_y - scale * mean_x
