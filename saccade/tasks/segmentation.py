"""Which class each pixel shows: cross-entropy over the pixels that have one, mean intersection over union.

B images, H x W pixels, K classes.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.dense import IGNORE
from saccade.data.samples import Batch
from saccade.errors import ConfigError
from saccade.tasks.predictions import ClassIoU, Segmentation, SegmentationMetrics
from saccade.tasks.weights import SegmentationWeights


class Logits(Protocol):
    """What a model gives."""

    @property
    def values(self) -> Tensor: ...  # [B, K, H, W]

    @property
    def aux(self) -> Tensor | None: ...  # [B, K, h, w] of a second head


class SegmentationTask:
    """A class for every pixel.

    Args:
        labels: K class names, in the order of the logits.
        weights: of the losses.
    """

    name = "segmentation"
    smallest_loss = 0.0

    def __init__(self, labels: Sequence[str], weights: SegmentationWeights | None = None):
        self.labels = tuple(labels)
        self.weights = weights or SegmentationWeights()

    def run(self, model: nn.Module, batch: Batch) -> Logits:
        return model(batch.inputs)

    def step(self, outputs: Logits, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(batch.labels, dict)
        target = batch.labels["target"]
        loss = self.loss(outputs.values, target)
        if outputs.aux is not None and self.weights.aux:
            aux = F.interpolate(outputs.aux.float(), size=target.shape[-2:], mode="bilinear", align_corners=False)
            loss = loss + self.weights.aux * self.loss(aux, target)
        known = target != IGNORE
        right = ((outputs.values.argmax(1) == target) & known).flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
        return loss, {"pixel accuracy": right.sum()}

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over pixels that have a class; 0 where none has."""
        total = F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="sum")
        return total / (target != IGNORE).sum().clamp(min=1)

    def keep(self, outputs: Logits, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each image's confusion ``[B, K, K]`` (true, said) at the size of its mask."""
        assert isinstance(batch.labels, dict)
        count, found = len(self.labels), []
        for logits, target, size in zip(outputs.values.float(), batch.labels["target"], batch.labels["sizes"].tolist()):
            at_size = F.interpolate(logits[None], size=tuple(size), mode="bilinear", align_corners=False)[0].argmax(0)
            true = target[: size[0], : size[1]]
            known = true != IGNORE
            pairs = true[known] * count + at_size[known]
            found.append(torch.bincount(pairs, minlength=count * count).view(count, count))
        confusion = torch.stack(found).cpu()
        return confusion, torch.zeros(len(confusion), dtype=torch.long)

    def decode(self, outputs: Tensor, names: Sequence[str], *, top: int = 5) -> list[Segmentation]:
        """Confusions ``[B, K, K]`` -> the share of each class in what was said, the largest first."""
        found = []
        for name, confusion in zip(names, outputs):
            said = confusion.sum(0).double()
            shares = (said / said.sum().clamp(min=1)).tolist()
            ordered = sorted(((n, s) for n, s in zip(self.labels, shares) if s > 0), key=lambda pair: -pair[1])
            found.append(Segmentation(name, tuple(ordered[:top])))
        return found

    def truth(self, target: Tensor) -> Any:
        return None

    def measure(self, outputs: Tensor, targets: Tensor) -> SegmentationMetrics:
        """Confusions ``[N, K, K]`` of a split."""
        if len(outputs) == 0:
            raise ConfigError("there are no images to measure on")
        confusion = outputs.sum(0).double()
        right, true, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        union = true + said - right
        rows = tuple(
            ClassIoU(label, (r / u).item() if u else -1.0, (r / t).item() if t else -1.0, int(t))
            for label, r, u, t in zip(self.labels, right, union, true)
        )
        there = [row.iou for row in rows if row.iou >= 0]
        return SegmentationMetrics(
            miou=sum(there) / max(len(there), 1),
            accuracy=(right.sum() / true.sum().clamp(min=1)).item(),
            images=len(outputs),
            per_class=rows,
        )
