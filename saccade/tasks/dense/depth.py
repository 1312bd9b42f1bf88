"""How far each pixel is: losses that leave open what cannot be known, and metrics after the alignment that fits them.

    silog    sqrt(mean(g²) - λ mean(g)²), g = log pred - log target, of an image     (Eigen et al., arXiv 1406.2283)
    ssi      |s d + t - d*| after the best scale s and shift t of the inverse depth  (Ranftl et al., arXiv 1907.01341)

The root and λ = 0.85 of silog follow Lee et al. (arXiv 1907.10326). Pixels without a depth (NaN) do not count.
B images, H x W pixels.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.intervals import Figures
from saccade.engine.task import IndependentParts, LossTerm, LossTerms, image_batch
from saccade.tasks.dense.alignment import SMALLEST, aligned_depth, best_scale_and_shift
from saccade.tasks.dense.config import Alignment, DepthConfig
from saccade.tasks.dense.depth_metrics import ERRORS, DepthMetrics, depth_errors, depth_figures, depth_metrics
from saccade.tasks.dense.results import Depth

LAMBDA = 0.85  # of the common scale that silog leaves open
STRIDES = (1, 2, 4, 8)  # of the scales at which the ssi loss compares gradients


class DepthOutput(Protocol):
    """What a model returns."""

    @property
    def values(self) -> Tensor: ...  # [B, H, W]


class DepthTask(IndependentParts):
    """A depth for every pixel, in metres; or its inverse up to scale and shift, with the ssi loss."""

    name = "depth"
    labels: tuple[str, ...] = ()
    class_targets: tuple[str, ...] = ()
    smallest_loss = 0.0

    def __init__(self, config: DepthConfig | None = None):
        self.config = config or DepthConfig()

    @property
    def predicts_inverse(self) -> bool:
        """Whether the model predicts the inverse of depth, up to scale and shift."""
        return self.config.loss == "ssi"

    @property
    def unit(self) -> str:
        """Of the model's predictions: "m" for metres, "" for an inverse depth."""
        return "" if self.predicts_inverse else "m"

    @property
    def alignment(self) -> Alignment:
        """What is fitted to the ground truth before measuring."""
        return "scale-shift" if self.predicts_inverse else self.config.alignment

    def aligned(self, pred: Tensor, target: Tensor) -> Tensor:
        """The prediction of one image as metres, fitted to its ground truth, ``[H, W]`` each."""
        return aligned_depth(pred, target, self.alignment, inverse=self.predicts_inverse)

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Images with a known pixel, known pixels; for ssi also those at each stride."""
        known = ~target_of(batch).isnan()
        counts = {"images with depth": known.flatten(1).any(1).sum(), "known pixels": known.sum()}
        if self.predicts_inverse:
            counts |= {f"known pixels, stride {s}": known[:, ::s, ::s].sum() for s in STRIDES}
        return counts

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """The loss of the config; the fraction of pixels within a factor 1.25, the mean over images."""
        outputs: DepthOutput = model(batch.inputs)
        pred, target = outputs.values.float(), target_of(batch).float()
        if self.config.loss == "ssi":
            loss = self.ssi_terms(pred, 1 / target)
        elif self.config.loss == "l1":
            loss = {"l1": LossTerm(l1_loss(pred, target), "known pixels")}
        else:
            loss = {"silog": LossTerm(silog_loss(pred, target), "images with depth")}
        with torch.no_grad():
            delta1 = torch.stack([depth_errors(self.aligned(p, t), t)["delta1"] for p, t in zip(pred, target)])
        return LossTerms(loss, {"delta1": LossTerm(delta1.sum(), "images with depth")})

    def ssi_terms(self, pred: Tensor, target: Tensor) -> dict[str, LossTerm]:
        """The ssi loss and its gradient matching terms; inverse depths ``[B, H, W]``, NaN where they are not known."""
        known = ~target.isnan()
        error = aligned_error(pred, target)
        terms = {"ssi": LossTerm(error.abs().sum(), "known pixels")}
        if self.config.gradient_weight:
            for s in STRIDES:
                total = gradient_sum(error[:, ::s, ::s], known[:, ::s, ::s])
                count = f"known pixels, stride {s}"
                terms[f"gradient, stride {s}"] = LossTerm(total, count, self.config.gradient_weight)
        return terms

    def eval_step(self, model: nn.Module, batch: Batch) -> DepthOutput:
        """Depth, or inverse depth, ``[B, h, w]`` at the size of the model."""
        return model(batch.inputs)

    def collect(self, outputs: DepthOutput, batch: Batch) -> dict[str, Tensor]:
        """The errors of each image at the size of its map: `abs_rel`, … and `known_pixels`, ``[N]`` each."""
        rows = []
        for pred, target, size in zip(outputs.values.float(), target_of(batch), sizes_of(batch)):
            own_target = target[: size[0], : size[1]]
            rows.append(depth_errors(self.aligned(resize_depth(pred, size), own_target), own_target))
        return {name: torch.stack([row[name] for row in rows]) for name in (*ERRORS, "known_pixels")}

    def measure(self, collected: Collected) -> DepthMetrics:
        """The mean over images that have a depth."""
        return depth_metrics(collected.tensors or {"known_pixels": torch.zeros(0)}, self.alignment)

    def figures(self, collected: Collected) -> Figures:
        return depth_figures(collected.tensors)

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        """The errors of each image; None where it has no depth."""
        columns = {name: collected[name].tolist() for name in ERRORS}
        return [
            {
                "image": name,
                "figures": {error: values[i] if known else None for error, values in columns.items()},
                "truth": None,
            }
            for i, (name, known) in enumerate(zip(collected.names, collected["known_pixels"].tolist()))
        ]

    def input_batch(self, inputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        return image_batch(inputs, sizes, names)

    def decode(self, outputs: DepthOutput, batch: Batch) -> list[Depth]:
        """A depth map for each image at its own size."""
        pairs = zip(batch.names, outputs.values.float().cpu(), sizes_of(batch))
        return [Depth(name, resize_depth(pred, size).numpy(), self.unit) for name, pred, size in pairs]


def target_of(batch: Batch) -> Tensor:
    """The maps of a batch, ``[B, H, W]``."""
    assert isinstance(batch.labels, dict)
    return batch.labels["target"]


def sizes_of(batch: Batch) -> list[tuple[int, int]]:
    """(H, W) of each image before preprocessing."""
    assert isinstance(batch.labels, dict)
    return [(height, width) for height, width in batch.labels["sizes"].tolist()]


def resize_depth(pred: Tensor, size: tuple[int, int]) -> Tensor:
    """``[h, w]`` -> ``[H, W]``, bilinear."""
    return F.interpolate(pred[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def silog_loss(pred: Tensor, target: Tensor) -> Tensor:
    """The scale-invariant logarithmic error of each image, the sum over images; 0 for images without a known pixel.

    Args:
        pred: ``[B, H, W]`` metres.
        target: ``[B, H, W]`` metres, NaN where it is not known.
    """
    known = ~target.isnan()
    count = known.flatten(1).sum(1)
    logs = pred.clamp(min=SMALLEST).log() - torch.where(known, target, 1.0).log()
    logs = torch.where(known, logs, 0.0).flatten(1)
    mean, mean_square = (values.sum(1) / count.clamp(min=1) for values in (logs, logs.square()))
    errors = (mean_square - LAMBDA * mean.square()).clamp(min=1e-12).sqrt()
    return (errors * (count > 0)).sum()


def l1_loss(pred: Tensor, target: Tensor) -> Tensor:
    """|pred - target| in metres, the sum over known pixels; ``[B, H, W]`` each."""
    known = ~target.isnan()
    return (pred[known] - target[known]).abs().sum()


def aligned_error(pred: Tensor, target: Tensor) -> Tensor:
    """s pred + t - target with the best scale s and shift t of each image; 0 where the target is NaN; ``[B, H, W]``."""
    scale, shift = best_scale_and_shift(pred, target)
    return torch.where(target.isnan(), 0.0, scale[:, None] * pred + shift[:, None] - target)


def gradient_sum(error: Tensor, known: Tensor) -> Tensor:
    """|difference| between neighbours of ``[B, h, w]`` in both directions, the sum over pairs that are both known."""
    down, right = (error[:, 1:] - error[:, :-1]).abs(), (error[:, :, 1:] - error[:, :, :-1]).abs()
    return (down * (known[:, 1:] & known[:, :-1])).sum() + (right * (known[:, :, 1:] & known[:, :, :-1])).sum()
