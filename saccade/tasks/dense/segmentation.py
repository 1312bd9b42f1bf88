"""Semantic segmentation: cross-entropy over the labelled pixels, mean intersection over union.

B images, H x W pixels, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.attention_groups import AttentionGroup
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler, remeasure
from saccade.engine.task import Direction, IndependentParts, LossTerm, LossTerms, image_batch
from saccade.tasks.dense.config import SegmentationConfig
from saccade.tasks.dense.depth import sizes_of, target_of
from saccade.tasks.dense.results import Segmentation
from saccade.tasks.dense.segmentation_metrics import SegmentationMetrics, pixel_counts, segmentation_metrics
from saccade.tasks.dense.sources import IGNORE
from saccade.tasks.dense.taps import tapped_groups

TOP = 5  # classes of an image in predictions.json


class SegmentationOutput(Protocol):
    """Output of a segmentation model."""

    @property
    def values(self) -> Tensor: ...  # [B, K, H, W] logits

    @property
    def aux(self) -> Tensor | None: ...  # [B, K, h, w] logits of an auxiliary head


class SegmentationTask(IndependentParts):
    """Semantic segmentation: a class for every pixel.

    Args:
        labels: K class names, in the order of the logits.
        config: weights of the losses.
        auxiliary_head: whether the model has an auxiliary head, as a DPT with `auxiliary=True`.
    """

    name = "segmentation"
    better: Mapping[str, Direction] = {"mIoU": "higher", "pixel accuracy": "higher"}
    class_targets: tuple[str, ...] = ()  # masks are renumbered when they are read
    smallest_loss = 0.0

    def __init__(
        self, labels: Sequence[str], config: SegmentationConfig | None = None, *, auxiliary_head: bool = False
    ):
        self.labels = tuple(labels)
        self.config = config or SegmentationConfig()
        self.auxiliary = auxiliary_head and self.config.auxiliary_weight > 0

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"labelled pixels": (target_of(batch) != IGNORE).sum()}

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Cross-entropy in nats of the head, and of the auxiliary head where the model has one; pixel accuracy."""
        outputs: SegmentationOutput = model(batch.inputs, auxiliary=True) if self.auxiliary else model(batch.inputs)
        target, aux = target_of(batch), outputs.aux
        loss = {"cross-entropy": LossTerm(cross_entropy(outputs.values, target), "labelled pixels")}
        if self.auxiliary:
            assert aux is not None
            aux = F.interpolate(aux.float(), size=target.shape[-2:], mode="bilinear", align_corners=False)
            total = cross_entropy(aux, target)
            loss["auxiliary"] = LossTerm(total, "labelled pixels", self.config.auxiliary_weight)
        correct = ((outputs.values.argmax(1) == target) & (target != IGNORE)).sum()
        return LossTerms(loss, {"pixel accuracy": LossTerm(correct, "labelled pixels")})

    def attention_groups(self, model: nn.Module, outputs: SegmentationOutput, batch: Batch) -> list[AttentionGroup]:
        """The patches of a DPT, with the layers that the decoder reads."""
        return tapped_groups(model, batch)

    def eval_step(self, model: nn.Module, batch: Batch) -> SegmentationOutput:
        """Logits ``[B, K, h, w]`` at the size of the model."""
        return model(batch.inputs)

    def collect(self, outputs: SegmentationOutput, batch: Batch) -> dict[str, Tensor]:
        """The pixels of each class at the size of each mask: `intersection`, `pred_pixels`, `target_pixels`,
        ``[N, K]`` each."""
        rows = []
        for logits, target, size in zip(outputs.values, target_of(batch), sizes_of(batch)):
            rows.append(pixel_counts(class_map(logits, size), target[: size[0], : size[1]], len(self.labels)))
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def measure(self, collected: Collected) -> SegmentationMetrics:
        return segmentation_metrics(collected.tensors, self.labels)

    def resampler(self, collected: Collected) -> Resampler:
        return remeasure(self.measure, collected)

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        """The largest predicted classes of each image, as fractions of its labelled pixels."""
        rows = []
        for name, pixels in zip(collected.names, collected["pred_pixels"].double()):
            fractions = (pixels / pixels.sum().clamp(min=1)).tolist()
            ordered = sorted((pair for pair in zip(self.labels, fractions) if pair[1] > 0), key=lambda pair: -pair[1])
            fractions = [{"label": label, "share": fraction} for label, fraction in ordered[:TOP]]
            rows.append({"image": name, "shares": fractions, "truth": None})
        return rows

    def input_batch(self, inputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        return image_batch(inputs, sizes, names)

    def decode(self, outputs: SegmentationOutput, batch: Batch) -> list[Segmentation]:
        """A class map for each image at its own size."""
        pairs = zip(batch.names, outputs.values.cpu(), sizes_of(batch))
        return [Segmentation(name, class_map(logits, size).numpy(), self.labels) for name, logits, size in pairs]


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Logits ``[B, K, H, W]`` and class indices ``[B, H, W]`` -> the sum over labelled pixels, in nats."""
    return F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="sum")


def class_map(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits ``[K, h, w]`` -> the best class of every pixel at another size ``[H, W]``, int64."""
    return F.interpolate(logits.float()[None], size=size, mode="bilinear", align_corners=False)[0].argmax(0)
