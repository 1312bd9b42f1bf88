"""Which of K classes an image shows: cross-entropy, softmax, accuracy and its relatives."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.errors import ConfigError
from saccade.tasks.predictions import Classification, ClassificationMetrics, ClassMetrics

CALIBRATION_BINS = 15


class ClassificationTask:
    """One label an image.

    Args:
        labels: K class names, in the order of the logits.
        label_smoothing: the share of the target spread evenly over all classes (Szegedy et al., arXiv 1512.00567).
    """

    name = "classification"

    def __init__(self, labels: Sequence[str], *, label_smoothing: float = 0.0):
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label smoothing must lie in [0, 1), not {label_smoothing}")
        self.labels = tuple(labels)
        self.label_smoothing = label_smoothing

    @property
    def smallest_loss(self) -> float:
        """The loss of a perfect answer: above 0 with smoothed labels, the entropy of the target."""
        count = len(self.labels)
        other = self.label_smoothing / count
        right = 1 - self.label_smoothing + other
        return -sum(p * math.log(p) for p in (right, *[other] * (count - 1)) if p > 0)

    def run(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch.inputs)

    def step(self, outputs: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.loss(outputs, batch)
        with torch.no_grad():
            return loss, {"accuracy": self.score(outputs, batch)}

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Logits ``[B, K]`` and labels ``[B]`` or mixed targets ``[B, K]`` -> mean cross-entropy in nats."""
        return F.cross_entropy(outputs.float(), batch.classes, label_smoothing=self.label_smoothing)

    def score(self, outputs: Tensor, batch: Batch) -> Tensor:
        """How many of the batch are right; with mixed targets the larger part counts."""
        labels = batch.classes if batch.classes.ndim == 1 else batch.classes.argmax(1)
        return (outputs.argmax(1) == labels).sum()

    def keep(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return outputs.float().cpu(), batch.classes.cpu()

    def decode(self, outputs: Tensor, names: Sequence[str], *, top: int = 5) -> list[Classification]:
        """Logits ``[B, K]`` -> one prediction an image, with its `top` best classes."""
        scores, classes = outputs.float().softmax(1).topk(min(top, outputs.shape[1]), dim=1)
        predictions = []
        for name, row_scores, row_classes in zip(names, scores.tolist(), classes.tolist()):
            best = tuple((self.labels[c], s) for c, s in zip(row_classes, row_scores))
            predictions.append(Classification(name, best[0][0], best[0][1], best))
        return predictions

    def truth(self, target: Tensor) -> str:
        return self.labels[int(target)]

    def measure(self, outputs: Tensor, targets: Tensor) -> ClassificationMetrics:
        """Logits ``[N, K]`` and labels ``[N]`` of a whole split."""
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        if len(targets) == 0:
            raise ConfigError("there are no images to measure on")
        log_probabilities = outputs.double().log_softmax(1)
        confidence, predicted = log_probabilities.exp().max(1)
        correct = predicted == targets
        num_classes = len(self.labels)
        truth, guess, every = targets.numpy(), predicted.numpy(), np.arange(num_classes)
        scores: Any = precision_recall_fscore_support(truth, guess, labels=every, zero_division=0)  # type: ignore[arg-type]
        per_class = [
            ClassMetrics(label, float(p), float(r), float(f), int(n)) for label, p, r, f, n in zip(self.labels, *scores)
        ]
        bins = reliability(confidence, correct)
        top5 = None
        if num_classes > 5:
            top5 = (outputs.topk(5, dim=1).indices == targets[:, None]).any(1).double().mean().item()
        return ClassificationMetrics(
            accuracy=correct.double().mean().item(),
            top5=top5,
            nll=F.nll_loss(log_probabilities, targets).item(),
            calibration_error=sum(n * abs(c - a) for c, a, n in bins) / len(targets),
            images=len(targets),
            per_class=tuple(per_class),
            confusion=tuple(tuple(row) for row in confusion_matrix(truth, guess, labels=every).tolist()),
            reliability=bins,
        )


def reliability(confidence: Tensor, correct: Tensor) -> tuple[tuple[float, float, int], ...]:
    """(mean confidence, accuracy, images) of each of 15 equal bins of confidence ``[N]`` that has images."""
    index = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    found = []
    for b in range(CALIBRATION_BINS):
        inside = index == b
        count = int(inside.sum())
        if count:
            found.append((confidence[inside].mean().item(), correct[inside].double().mean().item(), count))
    return tuple(found)
