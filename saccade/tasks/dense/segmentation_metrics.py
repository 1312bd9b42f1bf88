"""Metrics of segmentation: intersection over union of each class, pixel accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.tasks.dense.sources import IGNORE


@dataclass(frozen=True)
class ClassIoU:
    """One class: intersection over union and recall, -1 where it does not occur, and its pixels in the ground truth."""

    label: str
    iou: float
    recall: float
    pixels: int


@dataclass(frozen=True)
class SegmentationMetrics:
    """Mean intersection over union of the classes that occur, and the fraction of labelled pixels that are correct."""

    warning = ""
    miou: float
    accuracy: float
    images: int
    per_class: tuple[ClassIoU, ...]

    @property
    def count(self) -> int:
        return self.images

    @property
    def selection(self) -> float:
        return self.miou

    def scalars(self) -> dict[str, float]:
        return {"mIoU": self.miou, "pixel accuracy": self.accuracy}

    def table(self) -> str:
        """IoU and recall of each class that occurs."""
        rows = [row for row in self.per_class if row.iou >= 0]
        width = max((len(row.label) for row in rows), default=5)
        lines = [f"{'class':<{width}}    IoU  recall      pixels"]
        for row in rows:
            recall = f"{row.recall:.3f}" if row.recall >= 0 else "-"
            lines.append(f"{row.label:<{width}}  {row.iou:.3f}  {recall:>6}  {row.pixels:>10,}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SegmentationMetrics":
        """The inverse of :meth:`to_dict`, also after a JSON round trip."""
        return cls(**{**values, "per_class": tuple(ClassIoU(**row) for row in values["per_class"])})

    def __str__(self) -> str:
        return f"mIoU {self.miou:.3f}, pixel accuracy {self.accuracy:.2%} on {self.images} images"


def pixel_counts(pred: Tensor, target: Tensor, num_classes: int) -> dict[str, Tensor]:
    """The pixels of each class in one image, without those that are IGNORE in the target.

    Args:
        pred, target: class indices ``[H, W]``.
        num_classes: K.

    Returns:
        "intersection" (predicted as their own class), "pred_pixels" and "target_pixels", ``[K]`` int64 each.
    """
    labelled = target != IGNORE
    pred, target = pred[labelled], target[labelled]
    parts = {"intersection": target[pred == target], "pred_pixels": pred, "target_pixels": target}
    return {name: torch.bincount(part, minlength=num_classes) for name, part in parts.items()}


def segmentation_metrics(counts: Mapping[str, Tensor], labels: Sequence[str]) -> SegmentationMetrics:
    """The counts of N images by name, ``[N, K]`` each, as :func:`pixel_counts` returns them -> metrics of the split.

    Raises:
        ConfigError: there are no images.
    """
    if not counts:
        raise ConfigError("there are no images to measure on")
    correct, pred, target = (counts[n].sum(0).double() for n in ("intersection", "pred_pixels", "target_pixels"))
    union = pred + target - correct
    rows = tuple(
        ClassIoU(label, (c / u).item() if u else -1.0, (c / t).item() if t else -1.0, int(t))
        for label, c, u, t in zip(labels, correct, union, target)
    )
    ious = [row.iou for row in rows if row.iou >= 0]
    return SegmentationMetrics(
        miou=sum(ious) / max(len(ious), 1),
        accuracy=(correct.sum() / target.sum().clamp(min=1)).item(),
        images=len(counts["intersection"]),
        per_class=rows,
    )
