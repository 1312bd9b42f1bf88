"""Calibration of a classifier: expected calibration error, and temperature scaling that corrects it.

Guo et al., arXiv 1706.04599: one number by which all logits are divided, fitted on validation images, changes no
prediction and brings confidence and accuracy together.

N images, K classes.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from saccade.deferred import Deferred
from saccade.errors import ConfigError

optimize = Deferred("scipy.optimize")

CALIBRATION_BINS = 15
TEMPERATURES = (0.05, 20.0)  # between which the best one is searched

Bins = tuple[tuple[float, float, int], ...]


@dataclass(frozen=True)
class Calibration:
    """Calibration before and after dividing the logits by a temperature.

    Attributes:
        temperature: fitted on the validation images; above 1 for an overconfident model.
        fitted_on: number of images used for the fit.
        images: number of images used for the other measurements.
        accuracy: accuracy, which does not depend on the temperature.
        error, error_after: expected calibration error over 15 equal bins, in [0, 1].
        nll, nll_after: mean negative log likelihood in nats.
        bins, bins_after: (mean confidence, accuracy, images) of each bin that has images.
        note: description of the images.
    """

    columns: ClassVar[tuple[str, ...]] = ("temperature", "confidence", "accuracy", "images")

    temperature: float
    fitted_on: int
    images: int
    accuracy: float
    error: float
    error_after: float
    nll: float
    nll_after: float
    bins: Bins
    bins_after: Bins
    note: str = ""

    def __str__(self) -> str:
        return "\n".join([
            f"accuracy {self.accuracy:.2%} on {self.images} images; {self.note}".rstrip("; "),
            f"                            as it is   with temperature {self.temperature:.3f}, fitted on "
            f"{self.fitted_on} images",
            f"expected calibration error {self.error:>9.2%}   {self.error_after:.2%}",
            f"negative log likelihood    {self.nll:>9.4f}   {self.nll_after:.4f}",
        ])  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "bins": [list(b) for b in self.bins], "bins_after": [list(b) for b in self.bins_after]}

    def rows(self) -> list[tuple[Any, ...]]:
        return [(1.0, *b) for b in self.bins] + [(self.temperature, *b) for b in self.bins_after]


def calibration(
    val_logits: Tensor, val_targets: Tensor, logits: Tensor, targets: Tensor, *, note: str = ""
) -> Calibration:
    """Fit a temperature on one part of the data and measure on another.

    Args:
        val_logits, val_targets: ``[M, K]`` and ``[M]`` int64, to fit on.
        logits, targets: ``[N, K]`` and ``[N]``, to measure on.
        note: description of the images.
    """
    temperature = fit_temperature(val_logits, val_targets)
    before, after = logits.double(), logits.double() / temperature
    bins, bins_after = (_bins(x, targets) for x in (before, after))
    return Calibration(
        temperature=temperature,
        fitted_on=len(val_targets),
        images=len(targets),
        accuracy=(logits.argmax(dim=1) == targets).double().mean().item(),
        error=calibration_error(bins),
        error_after=calibration_error(bins_after),
        nll=F.cross_entropy(before, targets).item(),
        nll_after=F.cross_entropy(after, targets).item(),
        bins=bins,
        bins_after=bins_after,
        note=note,
    )


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature in [0.05, 20] with the smallest negative log likelihood of ``logits [M, K]`` for ``targets [M]``.

    Raises:
        ConfigError: there are no images.
    """
    if not len(targets):
        raise ConfigError("a temperature needs validation images to be fitted on")
    scaled = logits.double()

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(scaled / math.exp(log_temperature), targets).item()

    low, high = (math.log(value) for value in TEMPERATURES)
    best: Any = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return math.exp(best.x)


def bin_numbers(confidence: Tensor) -> Tensor:
    """Which of 15 equal bins each confidence in [0, 1] is in, int64 of the same shape."""
    return (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)


def reliability(confidence: Tensor, correct: Tensor) -> Bins:
    """(mean confidence, accuracy, images) of each of 15 equal bins of confidence ``[N]`` that has images."""
    index = bin_numbers(confidence)
    bins = []
    for b in range(CALIBRATION_BINS):
        inside = index == b
        count = int(inside.sum())
        if count:
            bins.append((confidence[inside].mean().item(), correct[inside].double().mean().item(), count))
    return tuple(bins)


def calibration_error(bins: Bins) -> float:
    """The distance of confidence and accuracy, averaged over images, in [0, 1]."""
    return sum(count * abs(c - a) for c, a, count in bins) / sum(count for *_, count in bins)


def _bins(logits: Tensor, targets: Tensor) -> Bins:
    confidence, best = logits.softmax(dim=1).max(dim=1)
    return reliability(confidence, best == targets)
