"""Metrics of regression: R², errors in the unit of the values, rank correlation."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from saccade.errors import ConfigError


@dataclass(frozen=True)
class RegressionMetrics:
    """Regression metrics over the images of a split.

    Attributes:
        mae: mean absolute error.
        rmse: root mean squared error.
        r2: coefficient of determination, 1 - mean squared error / variance of the targets: 1 is perfect, 0 is as good
            as predicting the mean. None if all targets are the same.
        spearman: rank correlation in [-1, 1]. None if all targets or all predictions are the same.
        images: number of images.
    """

    mae: float
    rmse: float
    r2: float | None
    spearman: float | None
    images: int

    @property
    def count(self) -> int:
        return self.images

    @property
    def selection(self) -> float:
        """The negative RMSE, which is always defined and orders models on a split as R² does."""
        return -self.rmse

    @property
    def warning(self) -> str:
        if self.r2 is not None and self.spearman is None:
            return "the model predicts the same value for every image"
        return ""

    def scalars(self) -> dict[str, float]:
        values = {"R2": self.r2, "MAE": self.mae, "RMSE": self.rmse, "Spearman": self.spearman}
        return {name: value for name, value in values.items() if value is not None}

    def table(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RegressionMetrics":
        """The inverse of :meth:`to_dict`, also after a JSON round trip."""
        return cls(**values)

    def __str__(self) -> str:
        r2 = "R² undefined" if self.r2 is None else f"R² {self.r2:.4f}"
        rank = "" if self.spearman is None else f", Spearman correlation {self.spearman:.4f}"
        return f"{r2}, MAE {self.mae:.4g}, RMSE {self.rmse:.4g}{rank} on {self.images} images"


def regression_metrics(pred: np.ndarray, target: np.ndarray) -> RegressionMetrics:
    """Predictions and targets ``[N]`` of a whole split in the unit of the values -> its metrics.

    Raises:
        ConfigError: the split is empty.
    """
    if not len(target):
        raise ConfigError("there are no images to measure on")
    residuals = pred - target
    mse, variance = float(np.mean(residuals**2)), float(np.var(target))
    ranks: Any = spearmanr(pred, target) if variance > 0 and float(np.ptp(pred)) > 0 else None
    return RegressionMetrics(
        mae=float(np.mean(np.abs(residuals))),
        rmse=mse**0.5,
        r2=1 - mse / variance if variance > 0 else None,
        spearman=None if ranks is None else float(ranks.statistic),
        images=len(target),
    )
