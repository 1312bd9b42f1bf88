"""Metrics of classification: accuracy, metrics by class, confusion, calibration."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.analysis.calibration import CALIBRATION_BINS, bin_numbers, calibration_error, reliability
from saccade.deferred import Deferred
from saccade.engine.intervals import Resampler
from saccade.errors import ConfigError

sklearn_metrics = Deferred("sklearn.metrics")
MATRIX = 20  # most classes whose confusion matrix is printed


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class. `support` is its number of images; the others are fractions in [0, 1]."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassificationMetrics:
    """Metrics of a classifier on labelled images.

    Attributes:
        accuracy: fraction of images whose best class is correct.
        top5: fraction whose class is among the five best; None with fewer than six classes.
        nll: mean of -log(probability of the right class), in nats.
        calibration_error: mean difference between confidence and accuracy over 15 equal bins of confidence (expected
            calibration error, Guo et al., arXiv 1706.04599), in [0, 1].
        images: number of images.
        per_class: in the order of the labels.
        confusion: numbers of images, ``[true class][predicted class]``.
        reliability: (mean confidence, accuracy, images) of each bin that has images.
    """

    warning = ""
    accuracy: float
    top5: float | None
    nll: float
    calibration_error: float
    images: int
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[tuple[float, float, int], ...]

    @property
    def count(self) -> int:
        return self.images

    @property
    def macro_precision(self) -> float:
        """Unweighted mean over the classes that occur, as in the next two."""
        return self._macro("precision")

    @property
    def macro_recall(self) -> float:
        """Also called balanced accuracy."""
        return self._macro("recall")

    @property
    def macro_f1(self) -> float:
        return self._macro("f1")

    def _macro(self, name: str) -> float:
        values = [getattr(row, name) for row in self.per_class if row.support]
        return sum(values) / len(values)

    @property
    def selection(self) -> float:
        return self.accuracy

    def scalars(self) -> dict[str, float]:
        return {"loss": self.nll, "accuracy": self.accuracy}

    def table(self) -> str:
        """Precision, recall, F1 of each class; the confusion matrix of up to 20 classes."""
        rows = [row for row in self.per_class if row.support]
        width = max((5, *(len(row.label) for row in rows)))
        lines = [f"{'class':<{width}}  precision  recall     F1  images"]
        lines += [
            f"{row.label:<{width}}  {row.precision:>9.1%} {row.recall:>7.1%} {row.f1:>6.1%} {row.support:>7}"
            for row in rows
        ]
        macro = (self.macro_precision, self.macro_recall, self.macro_f1)
        lines.append(f"{'mean':<{width}}  {macro[0]:>9.1%} {macro[1]:>7.1%} {macro[2]:>6.1%}")
        if len(rows) <= MATRIX and len(self.per_class) == len(rows):
            lines += ["", "confusion matrix: rows are true classes, columns are predicted classes"]
            for row, counts in zip(self.per_class, self.confusion):
                lines.append(f"{row.label:<{width}}  " + " ".join(f"{count or '.':>4}" for count in counts))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ClassificationMetrics":
        """The inverse of :meth:`to_dict`, also after a JSON round trip."""
        return cls(
            accuracy=values["accuracy"],
            top5=values["top5"],
            nll=values["nll"],
            calibration_error=values["calibration_error"],
            images=values["images"],
            per_class=tuple(ClassMetrics(**row) for row in values["per_class"]),
            confusion=tuple(tuple(row) for row in values["confusion"]),
            reliability=tuple((c, a, n) for c, a, n in values["reliability"]),
        )

    def __str__(self) -> str:
        top5 = "" if self.top5 is None else f", top-5 {self.top5:.2%}"
        return (
            f"accuracy {self.accuracy:.2%}{top5} on {self.images} images; negative log likelihood {self.nll:.4f}, "
            f"calibration error {self.calibration_error:.2%}"
        )


def classification_metrics(logits: Tensor, targets: Tensor, labels: Sequence[str]) -> ClassificationMetrics:
    """Logits ``[N, K]`` and class numbers ``[N]`` of a whole split -> its metrics.

    Raises:
        ConfigError: the split is empty.
    """
    if len(targets) == 0:
        raise ConfigError("there are no images to measure on")
    log_probabilities = logits.double().log_softmax(1)
    confidence, predicted = log_probabilities.exp().max(1)
    correct = predicted == targets
    true, pred, classes = targets.numpy(), predicted.numpy(), np.arange(len(labels))
    scores: Any = sklearn_metrics.precision_recall_fscore_support(true, pred, labels=classes, zero_division=0)
    per_class = [
        ClassMetrics(label, float(p), float(r), float(f), int(n)) for label, p, r, f, n in zip(labels, *scores)
    ]
    bins = reliability(confidence, correct)
    top5 = None
    if len(labels) > 5:
        top5 = (logits.topk(5, dim=1).indices == targets[:, None]).any(1).double().mean().item()
    return ClassificationMetrics(
        accuracy=correct.double().mean().item(),
        top5=top5,
        nll=F.nll_loss(log_probabilities, targets).item(),
        calibration_error=calibration_error(bins),
        images=len(targets),
        per_class=tuple(per_class),
        confusion=tuple(tuple(row) for row in sklearn_metrics.confusion_matrix(true, pred, labels=classes).tolist()),
        reliability=bins,
    )


def classification_resampler(logits: Tensor, targets: Tensor, num_classes: int) -> Resampler:
    """Logits ``[N, K]`` and class numbers ``[N]`` -> a function from a draw of images to its main metrics.

    Everything that does not depend on the draw is computed once, so that a thousand draws of 50,000 images take a
    minute.
    """
    log_probabilities = logits.double().log_softmax(1)
    confidence, predicted = log_probabilities.exp().max(1)
    rows = {
        "accuracy": (predicted == targets).double(),
        "negative log likelihood": F.nll_loss(log_probabilities, targets, reduction="none"),
    }
    if num_classes > 5:
        rows["top-5"] = (logits.topk(5, dim=1).indices == targets[:, None]).any(1).double()
    gap = confidence - rows["accuracy"]
    bins = bin_numbers(confidence)

    def count(classes: Tensor, weights: Tensor | None = None) -> Tensor:
        return torch.bincount(classes, weights, minlength=num_classes)

    def resample(index: Tensor) -> dict[str, float]:
        true, pred = targets[index], predicted[index]
        support = count(true)
        right, selected = count(true, rows["accuracy"][index]), count(pred)
        macro = {
            "macro precision": right / selected.clamp(min=1),
            "macro recall": right / support.clamp(min=1),
            "macro F1": 2 * right / (selected + support).clamp(min=1),
        }
        gaps = torch.bincount(bins[index], gap[index], minlength=CALIBRATION_BINS)
        return {
            **{name: values[index].mean().item() for name, values in rows.items()},
            "calibration error": gaps.abs().sum().item() / len(index),
            **{name: values[support > 0].mean().item() for name, values in macro.items()},
        }

    return resample
