"""Panoptic quality (Kirillov et al., arXiv 1801.00868) by the rules of COCO's panopticapi.

A predicted and a true segment of one class match if their IoU is above 0.5; there is at most one such pair for each.

    PQ = sum of the IoUs of the matches / (TP + FP / 2 + FN / 2) = SQ · RQ
    SQ = mean IoU of the matches,  RQ = TP / (TP + FP / 2 + FN / 2)

of each class, then the mean over the classes that occur. Pixels without a true segment are void: they do not count in
an IoU, and a prediction that is in void, or in a crowd of its class, by more than half is no false positive. A crowd
matches nothing and is not missed. P predicted and T true segments of an image, K classes.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saccade.errors import ConfigError

MATCH_IOU = 0.5  # above which two segments match
IGNORED = 0.5  # fraction in void or in a crowd above which a prediction is not counted


class SegmentOverlaps(NamedTuple):
    """The segments of one image, and how many pixels each pair of them shares."""

    pred_labels: Tensor  # [P] class numbers
    target_labels: Tensor  # [T]
    target_crowd: Tensor  # [T] boolean
    pixels: Tensor  # [P + 1, T + 1] int64; row and column 0 are the pixels of no segment


@dataclass(frozen=True)
class ClassPQ:
    """Panoptic, segmentation and recognition quality of one class, -1 where it does not occur, and its counts."""

    label: str
    pq: float
    sq: float
    rq: float
    true_positives: int
    false_positives: int
    false_negatives: int


@dataclass(frozen=True)
class PanopticMetrics:
    """Means over the classes that occur, -1 where none does.

    Attributes:
        pq, sq, rq: of all classes.
        pq_things, pq_stuff: of those whose objects are counted, and of the others.
        images, segments: how many images, and true segments in them without crowds.
        per_class: in the order of the labels.
    """

    pq: float
    sq: float
    rq: float
    pq_things: float
    pq_stuff: float
    images: int
    segments: int
    per_class: tuple[ClassPQ, ...]

    @property
    def count(self) -> int:
        return self.images

    @property
    def selection(self) -> float:
        return self.pq

    @property
    def warning(self) -> str:
        return "" if self.pq >= 0 else "no image of the split has a segment: the panoptic quality is undefined"

    def scalars(self) -> dict[str, float]:
        metrics = {"PQ": self.pq, "SQ": self.sq, "RQ": self.rq, "PQ things": self.pq_things, "PQ stuff": self.pq_stuff}
        return {name: value for name, value in metrics.items() if value >= 0}

    def table(self) -> str:
        """Each class that occurs."""
        rows = [row for row in self.per_class if row.pq >= 0]
        width = max((len(row.label) for row in rows), default=5)
        lines = [
            f"{row.label:<{width}}  {row.pq:.3f}  {row.sq:.3f}  {row.rq:.3f} {row.true_positives:>6} "
            f"{row.false_positives:>6} {row.false_negatives:>6}"
            for row in rows
        ]
        return "\n".join([f"{'class':<{width}}     PQ     SQ     RQ     TP     FP     FN", *lines])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        metrics = ", ".join(f"{name} {value:.3f}" for name, value in self.scalars().items()) or "PQ undefined"
        return f"{metrics} on {self.segments} segments in {self.images} images"


def segment_overlaps(pred: Tensor, target: Tensor, num_pred: int, num_target: int) -> Tensor:
    """The pixels that each pair of segments shares, ``[P + 1, T + 1]`` int64.

    Args:
        pred: ``[H, W]`` the predicted segment of each pixel, from 1; 0 for none.
        target: ``[H, W]`` the true segment.
        num_pred, num_target: P and T.
    """
    pairs = pred.long().flatten() * (num_target + 1) + target.long().flatten()
    return torch.bincount(pairs, minlength=(num_pred + 1) * (num_target + 1)).view(num_pred + 1, num_target + 1)


def panoptic_metrics(
    images: Sequence[SegmentOverlaps], labels: Sequence[str], stuff: Collection[int] = ()
) -> PanopticMetrics:
    """The panoptic quality of a split.

    Args:
        images: the segments of each.
        labels: K class names.
        stuff: classes that are not counted, by number.

    Raises:
        ConfigError: there are no images.
    """
    if not images:
        raise ConfigError("there are no images to measure on")
    counts = torch.stack([image_counts(image, len(labels)) for image in images])
    is_segment = [~image.target_crowd & (image.pixels[:, 1:].sum(0) > 0) for image in images]
    return summary(counts, labels, stuff, sum(int(rows.sum()) for rows in is_segment))


def panoptic_resampler(
    images: Sequence[SegmentOverlaps], labels: Sequence[str], stuff: Collection[int] = ()
) -> Callable[[Tensor], dict[str, float]]:
    """A function from a draw of the images to its metrics; arguments as for :func:`panoptic_metrics`."""
    counts = torch.stack([image_counts(image, len(labels)) for image in images])
    return lambda index: summary(counts[index], labels, stuff, 0).scalars()


def summary(counts: Tensor, labels: Sequence[str], stuff: Collection[int], segments: int) -> PanopticMetrics:
    """The metrics of images from their counts ``[N, K, 4]``: see :func:`image_counts`."""
    per_class = []
    for label, (iou, tp, fp, fn) in zip(labels, counts.sum(0).tolist()):
        total = tp + fp / 2 + fn / 2
        pq, rq = (iou / total, tp / total) if total else (-1.0, -1.0)
        sq = iou / tp if tp else (0.0 if total else -1.0)
        per_class.append(ClassPQ(label, pq, sq, rq, int(tp), int(fp), int(fn)))
    things, of_stuff = ([row for k, row in enumerate(per_class) if (k in stuff) == chosen] for chosen in (False, True))
    return PanopticMetrics(
        pq=_mean([row.pq for row in per_class]),
        sq=_mean([row.sq for row in per_class]),
        rq=_mean([row.rq for row in per_class]),
        pq_things=_mean([row.pq for row in things]),
        pq_stuff=_mean([row.pq for row in of_stuff]),
        images=len(counts),
        segments=segments,
        per_class=tuple(per_class),
    )


def image_counts(image: SegmentOverlaps, num_classes: int) -> Tensor:
    """Sum of IoUs, true positives, false positives and false negatives of each class in one image, ``[K, 4]``
    float64."""
    pixels = image.pixels.double()
    shared, void = pixels[1:, 1:], pixels[1:, :1]  # [P, T], [P, 1]
    pred_area, target_area = pixels[1:].sum(1, keepdim=True), pixels[:, 1:].sum(0, keepdim=True)
    same_class = image.pred_labels[:, None] == image.target_labels
    iou = shared / (pred_area - void + target_area - shared).clamp(min=1)
    match = same_class & ~image.target_crowd & (iou > MATCH_IOU)
    ignored = void + (shared * (same_class & image.target_crowd)).sum(1, keepdim=True)
    is_counted = ignored[:, 0] <= IGNORED * pred_area[:, 0]
    false_positive = ~match.any(1) & is_counted & (pred_area[:, 0] > 0)
    false_negative = ~match.any(0) & ~image.target_crowd & (target_area[0] > 0)
    counts = torch.zeros(num_classes, 4, dtype=torch.float64)
    row, column = match.nonzero(as_tuple=True)
    counts[:, 0].index_add_(0, image.target_labels[column], iou[row, column])
    for index, classes in ((1, image.target_labels[column]), (2, image.pred_labels[false_positive])):
        counts[:, index] = torch.bincount(classes, minlength=num_classes)
    counts[:, 3] = torch.bincount(image.target_labels[false_negative], minlength=num_classes)
    return counts


def _mean(values: Sequence[float]) -> float:
    """Over the classes that occur; -1 where none does."""
    measured = [value for value in values if value >= 0]
    return sum(measured) / len(measured) if measured else -1.0
