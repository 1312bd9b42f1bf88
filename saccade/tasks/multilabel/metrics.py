"""Metrics of multi-label classification: average precision of each label, F1 at its threshold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from saccade.deferred import Deferred
from saccade.errors import ConfigError

sklearn_metrics = Deferred("sklearn.metrics")


@dataclass(frozen=True)
class LabelMetrics:
    """One label. `ap` (average precision) is None without a positive image; `support` images have the label."""

    label: str
    ap: float | None
    threshold: float
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class MultiLabelMetrics:
    """Metrics of a multi-label model.

    Attributes:
        mean_ap: mean of the average precisions of the labels that occur (mAP); None if none occurs.
        micro_f1: F1 over all pairs of image and label, at the thresholds.
        macro_f1: mean F1 of the labels that occur.
        exact: fraction of images whose labels are all correct.
        loss: binary cross-entropy in nats, mean over images and labels.
        images: number of images.
        per_label: in the order of the logits.
    """

    mean_ap: float | None
    micro_f1: float
    macro_f1: float
    exact: float
    loss: float
    images: int
    per_label: tuple[LabelMetrics, ...]

    @property
    def count(self) -> int:
        return self.images

    @property
    def warning(self) -> str:
        return "" if self.mean_ap is not None else "no image of the split has a label: mAP is undefined"

    @property
    def selection(self) -> float:
        """The mAP; of equal ones, as on few images, the lower loss."""
        return -self.loss if self.mean_ap is None else self.mean_ap - 1e-6 * self.loss

    def scalars(self) -> dict[str, float]:
        ap = {} if self.mean_ap is None else {"mAP": self.mean_ap}
        return {"loss": self.loss, **ap, "micro F1": self.micro_f1}

    def table(self) -> str:
        """Average precision, threshold, precision, recall, F1 of each label."""
        width = max((5, *(len(row.label) for row in self.per_label)))
        lines = [f"{'label':<{width}}      AP  threshold  precision  recall     F1  images"]
        for row in self.per_label:
            ap = "     -" if row.ap is None else f"{row.ap:>6.1%}"
            lines.append(
                f"{row.label:<{width}}  {ap}  {row.threshold:>9.2f}  {row.precision:>9.1%} {row.recall:>7.1%} "
                f"{row.f1:>6.1%} {row.support:>7}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MultiLabelMetrics":
        """The inverse of :meth:`to_dict`, also after a JSON round trip."""
        return cls(**{**values, "per_label": tuple(LabelMetrics(**row) for row in values["per_label"])})

    def __str__(self) -> str:
        ap = "undefined" if self.mean_ap is None else f"{self.mean_ap:.2%}"
        return (
            f"mAP {ap}, micro F1 {self.micro_f1:.2%}, macro F1 {self.macro_f1:.2%}, all labels right "
            f"in {self.exact:.2%} of {self.images} images; binary cross-entropy {self.loss:.4f}"
        )


def multilabel_metrics(
    logits: np.ndarray, targets: np.ndarray, labels: Sequence[str], thresholds: np.ndarray
) -> MultiLabelMetrics:
    """The metrics of a split.

    Args:
        logits: ``[N, K]``.
        targets: ``[N, K]`` boolean.
        labels: K names.
        thresholds: ``[K]`` lowest scores in [0, 1] of predicted labels.

    Raises:
        ConfigError: the split is empty.
    """
    if not len(targets):
        raise ConfigError("there are no images to measure on")
    logits = logits.astype(np.float64)
    scores = sigmoid(logits)
    pred = scores >= thresholds
    support = targets.sum(0)
    if len(labels) > 1:
        table = sklearn_metrics.precision_recall_fscore_support(
            targets.astype(int), pred.astype(int), average=None, labels=range(len(labels)), zero_division=0,
        )  # fmt: skip
    else:
        table = _one_label(targets[:, 0], pred[:, 0])
    precision, recall, f1 = (np.asarray(column) for column in table[:3])
    rows = [
        LabelMetrics(
            label,
            float(sklearn_metrics.average_precision_score(targets[:, k], scores[:, k])) if support[k] else None,
            float(thresholds[k]), float(precision[k]), float(recall[k]), float(f1[k]), int(support[k]),
        )
        for k, label in enumerate(labels)
    ]  # fmt: skip
    present = [row for row in rows if row.ap is not None]
    aps = [row.ap for row in present if row.ap is not None]
    both = (pred & targets).sum()
    return MultiLabelMetrics(
        mean_ap=float(np.mean(aps)) if aps else None,
        micro_f1=float(2 * both / max(pred.sum() + targets.sum(), 1)),
        macro_f1=float(np.mean([row.f1 for row in present])) if present else 0.0,
        exact=float((pred == targets).all(1).mean()),
        loss=float((np.logaddexp(0, logits) - logits * targets).mean()),
        images=len(targets),
        per_label=tuple(rows),
    )


def _one_label(target: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, ...]:
    p, r, f, _ = sklearn_metrics.precision_recall_fscore_support(target, pred, average="binary", zero_division=0)
    return np.array([p]), np.array([r]), np.array([f]), np.array([target.sum()])


def best_thresholds(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The score ``[K]`` from which each label's F1 is highest on ``[N, K]``; 0.5 for a label that does not occur.

    A threshold lies halfway between the lowest score that is accepted and the highest that is not.
    """
    scores = sigmoid(logits.astype(np.float64))
    thresholds = np.full(targets.shape[1], 0.5)
    for k in range(targets.shape[1]):
        if not targets[:, k].any():
            continue
        precision, recall, cuts = sklearn_metrics.precision_recall_curve(targets[:, k], scores[:, k])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(f1[:-1].argmax())
        below = scores[:, k][scores[:, k] < cuts[best]]
        thresholds[k] = (cuts[best] + below.max()) / 2 if len(below) else cuts[best] / 2
    return thresholds


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits -> scores in [0, 1], without overflow."""
    return np.exp(-np.logaddexp(0, -logits))
