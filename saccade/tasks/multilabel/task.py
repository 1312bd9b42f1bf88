"""Multi-label classification: binary cross-entropy, sigmoid, average precision.

B images, K labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler, remeasure
from saccade.engine.task import Direction, IndependentParts, LossTerm, LossTerms, image_batch
from saccade.errors import ConfigError
from saccade.tasks.multilabel.metrics import MultiLabelMetrics, best_thresholds, multilabel_metrics
from saccade.tasks.multilabel.results import MultiLabel


class MultiLabelTask(IndependentParts):
    """Any number of labels for an image.

    Args:
        labels: K names, in the order of the logits.
        label_smoothing: targets 0 and 1 are moved towards 0.5 by this fraction.
        positive_weights: ``[K]``, weight of positive targets; None for 1.
        thresholds: ``[K]`` or a number: lowest scores in [0, 1] of predicted labels.
        top: number of labels in each result, best first.
    """

    name = "multilabel"
    better: Mapping[str, Direction] = {"loss": "lower", "mAP": "higher", "micro F1": "higher"}
    class_targets: tuple[str, ...] = ()  # columns of targets are in the model's order: see the room's open_data

    def __init__(
        self,
        labels: Sequence[str],
        *,
        label_smoothing: float = 0.0,
        positive_weights: Tensor | None = None,
        thresholds: Sequence[float] | float = 0.5,
        top: int = 5,
    ):
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), not {label_smoothing}")
        if top < 1:
            raise ConfigError(f"top must be at least 1, not {top}")
        self.labels = tuple(labels)
        self.label_smoothing, self.positive_weights, self.top = label_smoothing, positive_weights, top
        self.thresholds = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (len(self.labels),))
        if not ((self.thresholds >= 0) & (self.thresholds <= 1)).all():
            raise ConfigError("thresholds must be in [0, 1]")

    @property
    def smallest_loss(self) -> float:
        """The entropy of a smoothed target; with weights for positives a lower bound."""
        p = self.label_smoothing / 2
        return 0.0 if p == 0 else float(-(p * np.log(p) + (1 - p) * np.log(1 - p)))

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"labels": torch.tensor(batch.classes.numel()), "images": torch.tensor(len(batch.names))}

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Binary cross-entropy in nats; the fraction of images whose labels are all right."""
        logits, target = model(batch.inputs).float(), batch.classes.float()
        smooth = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        weights = None if self.positive_weights is None else self.positive_weights.to(logits.device)
        total = F.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weights, reduction="sum")
        exact = ((logits.detach() > 0) == (target > 0.5)).all(1).sum()
        return LossTerms({"BCE": LossTerm(total, "labels")}, {"all labels right": LossTerm(exact, "images")})

    def eval_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits ``[B, K]``."""
        return model(batch.inputs)

    def collect(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """``logits`` and ``target``, ``[N, K]`` each."""
        return {"logits": outputs.float(), "target": batch.classes}

    def measure(self, collected: Collected) -> MultiLabelMetrics:
        if not len(collected):
            raise ConfigError("there are no images to measure on")
        logits, target = collected["logits"].numpy(), collected["target"].numpy() > 0.5
        return multilabel_metrics(logits, target, self.labels, self.thresholds)

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def resampler(self, collected: Collected) -> Resampler:
        return remeasure(self.measure, collected)

    def calibrate(self, collected: Collected) -> tuple["MultiLabelTask", dict[str, Any]]:
        """The task with the thresholds of the best F1 on these images, and their values for the model directory."""
        thresholds = best_thresholds(collected["logits"].numpy(), collected["target"].numpy() > 0.5).tolist()
        task = MultiLabelTask(
            self.labels, label_smoothing=self.label_smoothing, positive_weights=self.positive_weights,
            thresholds=thresholds, top=self.top,
        )  # fmt: skip
        return task, {"thresholds": thresholds}

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        results = self.classify(collected["logits"], collected.names)
        targets = [[self.labels[k] for k in row.nonzero()[:, 0].tolist()] for row in collected["target"] > 0.5]
        return [{**result.to_dict(), "truth": target} for result, target in zip(results, targets)]

    def input_batch(self, inputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        return image_batch(inputs, sizes, names)

    def decode(self, outputs: Tensor, batch: Batch) -> list[MultiLabel]:
        return self.classify(outputs, batch.names)

    def classify(self, logits: Tensor, names: Sequence[str]) -> list[MultiLabel]:
        """Logits ``[B, K]`` -> the labels of each image."""
        results = []
        for name, row in zip(names, logits.double().sigmoid().cpu().tolist()):
            order = sorted(range(len(row)), key=lambda k: -row[k])
            present = tuple(self.labels[k] for k in order if row[k] >= self.thresholds[k])
            results.append(MultiLabel(name, present, tuple((self.labels[k], row[k]) for k in order[: self.top])))
        return results


def positive_weights(targets: np.ndarray, largest: float) -> Tensor:
    """negatives / positives of each label of ``[N, K]``, at most `largest`, ``[K]`` float32."""
    positives = targets.sum(0)
    return torch.tensor(np.clip((len(targets) - positives) / np.maximum(positives, 1), 0, largest), dtype=torch.float32)


def thresholds_of(state: Mapping[str, Any], count: int) -> list[float] | float:
    """The thresholds of a model directory; 0.5 if it has none.

    Raises:
        ConfigError: there are not as many as labels.
    """
    thresholds = state.get("thresholds", 0.5)
    if isinstance(thresholds, list) and len(thresholds) != count:
        raise ConfigError(f"the model directory has {len(thresholds)} thresholds for {count} labels")
    return thresholds
