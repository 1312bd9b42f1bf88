"""Depth estimation: losses that are invariant to unknown scale or shift, and metrics after the matching alignment.

Pixels without depth (NaN) are ignored. B images, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.attention_groups import AttentionGroup
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler
from saccade.engine.task import Direction, IndependentParts, LossTerm, LossTerms, image_batch
from saccade.tasks.dense.alignment import aligned_depth, measurable
from saccade.tasks.dense.config import Alignment, DepthConfig
from saccade.tasks.dense.depth_losses import (
    aligned_error,
    gradient_means,
    gradient_sum,
    l1_loss,
    normalized,
    silog_loss,
    ssitrim_loss,
)
from saccade.tasks.dense.depth_metrics import (
    BETTER,
    ERRORS,
    DepthMetrics,
    depth_errors,
    depth_metrics,
    depth_resampler,
)
from saccade.tasks.dense.results import Depth
from saccade.tasks.dense.taps import tapped_groups

STRIDES = (1, 2, 4, 8)  # of the scales at which the ssi and ssitrim losses compare gradients


class DepthOutput(Protocol):
    """Output of a depth model."""

    @property
    def values(self) -> Tensor: ...  # [B, H, W]


class DepthTask(IndependentParts):
    """Depth of every pixel in metres, or inverse depth up to scale and shift with the ssi and ssitrim losses."""

    name = "depth"
    labels: tuple[str, ...] = ()
    better: Mapping[str, Direction] = BETTER
    class_targets: tuple[str, ...] = ()
    smallest_loss = 0.0

    def __init__(self, config: DepthConfig | None = None):
        self.config = config or DepthConfig()

    @property
    def predicts_inverse(self) -> bool:
        """Whether the model predicts the inverse of depth, up to scale and shift."""
        return self.config.loss in ("ssi", "ssitrim")

    @property
    def unit(self) -> str:
        """Unit of the predictions: "m" for metres, "" for an inverse depth."""
        return "" if self.predicts_inverse else "m"

    @property
    def alignment(self) -> Alignment:
        """The alignment to the ground truth before measuring."""
        return "scale-shift" if self.predicts_inverse else self.config.alignment

    def aligned(self, pred: Tensor, target: Tensor) -> Tensor:
        """The prediction of one image as metres, fitted to its ground truth, ``[H, W]`` each."""
        limit = self.config.max_depth
        return aligned_depth(pred, target, self.alignment, inverse=self.predicts_inverse, max_depth=limit)

    def errors(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The errors of the prediction of one image, nearer than the greatest depth that is measured, ``[H, W]``
        each."""
        return depth_errors(self.aligned(pred, target), measurable(target, self.config.max_depth))

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Images with a valid pixel, and with one that is measured; valid pixels, for ssi also those at each stride."""
        valid = ~target_of(batch).isnan()
        measured = ~measurable(target_of(batch), self.config.max_depth).isnan()
        counts = {
            "images with depth": valid.flatten(1).any(1).sum(),
            "measured images": measured.flatten(1).any(1).sum(),
            "valid pixels": valid.sum(),
        }
        if self.config.loss == "ssi":
            counts |= {f"valid pixels, stride {s}": valid[:, ::s, ::s].sum() for s in STRIDES}
        return counts

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """The loss of the config; the fraction of pixels within a factor 1.25, the mean over images."""
        outputs: DepthOutput = model(batch.inputs)
        pred, target = outputs.values.float(), target_of(batch).float()
        if self.config.loss == "ssi":
            loss = self.ssi_terms(pred, 1 / target)
        elif self.config.loss == "ssitrim":
            loss = self.ssitrim_terms(pred, 1 / target)
        elif self.config.loss == "l1":
            loss = {"l1": LossTerm(l1_loss(pred, target), "valid pixels")}
        else:
            loss = {"silog": LossTerm(silog_loss(pred, target), "images with depth")}
        with torch.no_grad():
            delta1 = torch.stack([self.errors(p, t)["delta1"] for p, t in zip(pred, target)])
        return LossTerms(loss, {"delta1": LossTerm(delta1.sum(), "measured images")})

    def ssi_terms(self, pred: Tensor, target: Tensor) -> dict[str, LossTerm]:
        """The ssi loss and its gradient matching terms; inverse depths ``[B, H, W]``, NaN where they are not known."""
        valid = ~target.isnan()
        error = aligned_error(pred, target)
        terms = {"ssi": LossTerm(error.abs().sum(), "valid pixels")}
        if self.config.gradient_weight:
            for s in STRIDES:
                total = gradient_sum(error[:, ::s, ::s], valid[:, ::s, ::s])
                count = f"valid pixels, stride {s}"
                terms[f"gradient, stride {s}"] = LossTerm(total, count, self.config.gradient_weight)
        return terms

    def ssitrim_terms(self, pred: Tensor, target: Tensor) -> dict[str, LossTerm]:
        """The ssitrim loss and its gradient matching terms, means over images; arguments as for :meth:`ssi_terms`.

        A gradient term is divided by the valid pixels of its scale, as in the authors' code; the paper writes one M for
        all scales.
        """
        valid = ~target.isnan()
        error = normalized(pred, valid) - normalized(target.nan_to_num(), valid)
        terms = {"ssitrim": LossTerm(ssitrim_loss(error, valid), "images with depth")}
        if self.config.gradient_weight:
            for s in STRIDES:
                total = gradient_means(error[:, ::s, ::s], valid[:, ::s, ::s])
                terms[f"gradient, stride {s}"] = LossTerm(total, "images with depth", self.config.gradient_weight)
        return terms

    def attention_groups(self, model: nn.Module, outputs: DepthOutput, batch: Batch) -> list[AttentionGroup]:
        """The patches of a DPT, with the layers that the decoder reads."""
        return tapped_groups(model, batch)

    def eval_step(self, model: nn.Module, batch: Batch) -> DepthOutput:
        """Depth, or inverse depth, ``[B, h, w]`` at the size of the model."""
        return model(batch.inputs)

    def collect(self, outputs: DepthOutput, batch: Batch) -> dict[str, Tensor]:
        """The errors of each image at the size of its map: `abs_rel`, … and `valid_pixels`, ``[N]`` each."""
        rows = []
        for pred, target, size in zip(outputs.values.float(), target_of(batch), sizes_of(batch)):
            own_target = target[: size[0], : size[1]]
            rows.append(self.errors(resize_depth(pred, size), own_target))
        return {name: torch.stack([row[name] for row in rows]) for name in (*ERRORS, "valid_pixels")}

    def measure(self, collected: Collected) -> DepthMetrics:
        """The mean over images that have a depth."""
        errors = collected.tensors or {"valid_pixels": torch.zeros(0)}
        return depth_metrics(errors, self.alignment, self.config.max_depth)

    def resampler(self, collected: Collected) -> Resampler:
        return depth_resampler(collected.tensors)

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        """The errors of each image; None where it has no depth."""
        columns = {name: collected[name].tolist() for name in ERRORS}
        return [
            {
                "image": name,
                "figures": {error: values[i] if valid else None for error, values in columns.items()},
                "truth": None,
            }
            for i, (name, valid) in enumerate(zip(collected.names, collected["valid_pixels"].tolist()))
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
