"""Image classification: cross-entropy, softmax, accuracy.

B images, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler
from saccade.engine.task import Direction, IndependentParts, LossTerm, LossTerms, image_batch
from saccade.errors import ConfigError
from saccade.tasks.classification.metrics import (
    ClassificationMetrics,
    classification_metrics,
    classification_resampler,
)
from saccade.tasks.classification.results import Classification
from saccade.tasks.contrastive.results import Embedding


class ClassificationTask(IndependentParts):
    """Classification of images into K classes.

    Args:
        labels: K class names, in the order of the logits; () for a model without a head, which predicts its
            features.
        label_smoothing: fraction of the target that is spread evenly over all classes (Szegedy et al., arXiv
            1512.00567).
        class_weights: ``[K]`` float32, weight of each class in the loss, whose mean is weighted accordingly, as in
            :class:`torch.nn.CrossEntropyLoss`; None for equal weights.
        top: number of classes in each result, best first.
    """

    name = "classification"
    better: Mapping[str, Direction] = {
        "loss": "lower", "accuracy": "higher", "top-5": "higher", "negative log likelihood": "lower",
        "calibration error": "lower", "macro precision": "higher", "macro recall": "higher", "macro F1": "higher",
    }  # fmt: skip
    class_targets = ("target",)

    def __init__(
        self,
        labels: Sequence[str],
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        top: int = 5,
    ):
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), not {label_smoothing}")
        if top < 1:
            raise ConfigError(f"top must be at least 1, not {top}")
        self.labels = tuple(labels)
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.top = top

    @property
    def smallest_loss(self) -> float:
        """The entropy of the smoothed target; with class weights, the smallest over classes."""
        count = len(self.labels)
        other = self.label_smoothing / count
        right = 1 - self.label_smoothing + other
        if self.class_weights is None:
            return -sum(p * math.log(p) for p in (right, *[other] * (count - 1)) if p > 0)
        target = torch.full((count, count), other, dtype=torch.float64).fill_diagonal_(right)
        weighted = target * self.class_weights.double()
        shares = weighted / weighted.sum(dim=1, keepdim=True)
        losses = -torch.special.xlogy(weighted, shares).sum(dim=1) / self.class_weights.double()
        return losses.min().item()

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``images``; with class weights also ``weights``, the sum of the weights of their classes."""
        counts = {"images": torch.tensor(len(batch.names))}
        if self.class_weights is not None:
            weights, target = self.class_weights.to(batch.classes.device), batch.classes
            counts["weights"] = (weights[target] if target.ndim == 1 else target @ weights).sum()
        return counts

    @property
    def divisor(self) -> str:
        """The count that divides the cross-entropy."""
        return "images" if self.class_weights is None else "weights"

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Cross-entropy in nats; the accuracy on the augmented images."""
        logits = model(batch.inputs)
        loss = LossTerm(self.cross_entropy(logits, batch), self.divisor)
        return LossTerms({"cross-entropy": loss}, {"accuracy": LossTerm(correct(logits, batch), "images")})

    def cross_entropy(self, logits: Tensor, batch: Batch) -> Tensor:
        """Logits ``[B, K]`` and labels ``[B]`` or mixed targets ``[B, K]`` -> the weighted sum over images, in nats."""
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        smoothing = self.label_smoothing
        return F.cross_entropy(logits.float(), batch.classes, weights, label_smoothing=smoothing, reduction="sum")

    def eval_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits ``[B, K]``."""
        return model(batch.inputs)

    def collect(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """``logits [N, K]`` and ``target [N]``."""
        return {"logits": outputs.float(), "target": batch.classes}

    def measure(self, collected: Collected) -> ClassificationMetrics:
        if not len(collected):
            raise ConfigError("there are no images to measure on")
        return classification_metrics(collected["logits"], collected["target"], self.labels)

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1)

    def resampler(self, collected: Collected) -> Resampler:
        return classification_resampler(collected["logits"], collected["target"], len(self.labels))

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        results = self.classify(collected["logits"], collected.names)
        targets = [self.labels[target] for target in collected["target"].tolist()]
        return [{**result.to_dict(), "truth": target} for result, target in zip(results, targets)]

    def input_batch(self, inputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        return image_batch(inputs, sizes, names)

    def decode(self, outputs: Tensor, batch: Batch) -> Sequence[Classification] | Sequence[Embedding]:
        """The classes of each image; without a head its features."""
        if self.labels:
            return self.classify(outputs, batch.names)
        return [Embedding(name, vector) for name, vector in zip(batch.names, outputs.float().cpu().numpy())]

    def classify(self, logits: Tensor, names: Sequence[str]) -> list[Classification]:
        """Logits ``[B, K]`` -> the best classes of each image."""
        scores, classes = logits.float().softmax(1).topk(min(self.top, logits.shape[1]), dim=1)
        results = []
        for name, row_scores, row_classes in zip(names, scores.tolist(), classes.tolist()):
            best = tuple((self.labels[c], s) for c, s in zip(row_classes, row_scores))
            results.append(Classification(name, best[0][0], best[0][1], best))
        return results


def balanced_weights(labels: Tensor, count: int) -> Tensor:
    """The weight of each class, N / (K N_k), as scikit-learn's ``class_weight="balanced"``; ``[K]`` float32.

    Args:
        labels: ``[N]`` class numbers of the training images.
        count: K, the number of classes; one without images has the weight 0.
    """
    images = torch.bincount(labels, minlength=count).float()
    present = (images > 0).sum()
    return torch.where(images > 0, len(labels) / (present * images.clamp(min=1)), 0.0)


@torch.no_grad()
def correct(logits: Tensor, batch: Batch) -> Tensor:
    """Number of correctly classified images of the batch; with mixed targets the larger component counts."""
    target = batch.classes if batch.classes.ndim == 1 else batch.classes.argmax(1)
    return (logits.argmax(1) == target).sum()
