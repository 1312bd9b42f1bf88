"""Regression: squared, absolute or Huber loss on standardised values; R², MAE, RMSE.

B images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler, remeasure
from saccade.engine.task import Direction, IndependentParts, LossTerm, LossTerms, image_batch
from saccade.errors import ConfigError
from saccade.tasks.regression.batches import ValueScale
from saccade.tasks.regression.config import RegressionConfig
from saccade.tasks.regression.metrics import RegressionMetrics, regression_metrics
from saccade.tasks.regression.results import Regression


class RegressionTask(IndependentParts):
    """One number for each image.

    Args:
        labels: the name of the value.
        scale: mean and standard deviation of the training values, which turn the model's output into a value.
        config: the loss.
    """

    name = "regression"
    better: Mapping[str, Direction] = {"R2": "higher", "MAE": "lower", "RMSE": "lower", "Spearman": "higher"}
    class_targets: tuple[str, ...] = ()
    smallest_loss = 0.0

    def __init__(self, labels: Sequence[str], scale: ValueScale, config: RegressionConfig | None = None):
        self.labels = tuple(labels)
        self.scale = scale
        self.config = config or RegressionConfig()
        if self.config.huber_delta <= 0:
            raise ConfigError(f"regression.huber_delta must be positive, not {self.config.huber_delta}")

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"images": torch.tensor(len(batch.names))}

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """The loss on standardised values; the mean absolute error in the unit of the values."""
        pred, target = model(batch.inputs)[:, 0].float(), batch.classes.float()
        if self.config.loss == "l1":
            total = F.l1_loss(pred, target, reduction="sum")
        elif self.config.loss == "huber":
            total = F.huber_loss(pred, target, reduction="sum", delta=self.config.huber_delta)
        else:
            total = F.mse_loss(pred, target, reduction="sum")
        error = self.scale.std * (pred.detach() - target).abs().sum()
        return LossTerms({self.config.loss: LossTerm(total, "images")}, {"MAE": LossTerm(error, "images")})

    def eval_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Standardised values ``[B, 1]``."""
        return model(batch.inputs)

    def collect(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """``pred`` and ``target`` in the unit of the values, ``[N]`` float64 each."""
        return {"pred": self.values(outputs[:, 0]), "target": self.values(batch.classes)}

    def values(self, standardised: Tensor) -> Tensor:
        """Standardised values ``[B]`` -> float64 in the unit of the training values."""
        return standardised.double() * self.scale.std + self.scale.mean

    def measure(self, collected: Collected) -> RegressionMetrics:
        if not len(collected):
            raise ConfigError("there are no images to measure on")
        return regression_metrics(collected["pred"].numpy(), collected["target"].numpy())

    def resampler(self, collected: Collected) -> Resampler:
        return remeasure(self.measure, collected)

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        columns = zip(collected.names, collected["pred"].tolist(), collected["target"].tolist())
        return [{"image": name, "value": pred, "truth": target} for name, pred, target in columns]

    def input_batch(self, inputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        return image_batch(inputs, sizes, names)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Regression]:
        values = self.values(outputs[:, 0]).tolist()
        return [Regression(name, value, self.labels[0]) for name, value in zip(batch.names, values)]
