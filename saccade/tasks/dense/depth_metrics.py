"""Metrics of depth: the errors of an image, and their mean over images (Eigen et al., arXiv 1406.2283)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from saccade.engine.intervals import Resampler
from saccade.engine.task import Direction
from saccade.errors import ConfigError
from saccade.tasks.dense.config import Alignment

ERRORS = ("abs_rel", "rmse", "log10", "silog", "delta1", "delta2", "delta3")
NAMES = dict(zip(ERRORS, ("AbsRel", "RMSE", "log10", "SILog", "delta1", "delta2", "delta3")))  # for people
BETTER: Mapping[str, Direction] = {
    name: "higher" if error.startswith("delta") else "lower" for error, name in NAMES.items()
}
ALIGNED = dict(zip(get_args(Alignment), ("in metres", "up to a factor", "up to scale and shift")))


@dataclass(frozen=True)
class DepthMetrics:
    """Depth metrics, means over images.

    Attributes:
        abs_rel: mean of |pred - target| / target.
        rmse: root mean squared error in metres.
        silog: standard deviation of log(pred) - log(target), times 100.
        delta1, delta2, delta3: fraction of pixels within a factor 1.25, 1.25², 1.25³.
        alignment: alignment to the ground truth before measuring.
        images: number of images.
        log10: mean of |log10(pred) - log10(target)|; None in metrics that earlier versions stored.
        max_depth: metres beyond which ground truth was excluded and predictions were clamped; None for no limit.
    """

    warning = ""
    abs_rel: float
    rmse: float
    silog: float
    delta1: float
    delta2: float
    delta3: float
    alignment: Alignment
    images: int
    log10: float | None = None
    max_depth: float | None = None

    @property
    def count(self) -> int:
        return self.images

    @property
    def selection(self) -> float:
        return self.delta1

    def scalars(self) -> dict[str, float]:
        return {"delta1": self.delta1, "AbsRel": self.abs_rel, "RMSE": self.rmse, **self.logarithmic}

    @property
    def logarithmic(self) -> dict[str, float]:
        """log10, where it was measured."""
        return {} if self.log10 is None else {"log10": self.log10}

    def table(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DepthMetrics":
        """The inverse of :meth:`to_dict`, also after a JSON round trip."""
        return cls(**values)

    def __str__(self) -> str:
        log10 = "".join(f"{name} {value:.4f}, " for name, value in self.logarithmic.items())
        limit = "" if self.max_depth is None else f", up to {self.max_depth:g} m"
        return (
            f"delta1 {self.delta1:.4f}, delta2 {self.delta2:.4f}, delta3 {self.delta3:.4f}, AbsRel {self.abs_rel:.4f}, "
            f"RMSE {self.rmse:.3f} m, {log10}SILog {self.silog:.2f} on {self.images} images, "
            f"{ALIGNED[self.alignment]}{limit}"
        )


def depth_errors(pred: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The errors of one image.

    Args:
        pred: ``[H, W]`` metres, positive.
        target: ``[H, W]`` metres, NaN where it is not known.

    Returns:
        :data:`ERRORS` by name, scalars float32, 0 where no pixel is valid; and "valid_pixels", int64.
    """
    valid = ~target.isnan()
    count = valid.sum()
    if not count:
        zero = torch.zeros((), device=pred.device)
        return {**dict.fromkeys(ERRORS, zero), "valid_pixels": count}
    pred, target = pred[valid].double(), target[valid].double()
    ratio = torch.maximum(pred / target, target / pred)
    logs = pred.log() - target.log()
    errors = (
        ((pred - target).abs() / target).mean(), (pred - target).square().mean().sqrt(),
        (pred.log10() - target.log10()).abs().mean(), logs.var(correction=0).sqrt() * 100,
        *((ratio < 1.25**power).double().mean() for power in (1, 2, 3)),
    )  # fmt: skip
    return {**{name: error.float() for name, error in zip(ERRORS, errors)}, "valid_pixels": count}


def depth_metrics(errors: Mapping[str, Tensor], alignment: Alignment, max_depth: float | None = None) -> DepthMetrics:
    """The errors of N images by name, ``[N]`` each, as :func:`depth_errors` returns them -> their mean.

    Images without a valid pixel are left out of the mean.

    Raises:
        ConfigError: no image has a depth.
    """
    valid = errors["valid_pixels"] > 0
    if not valid.any():
        raise ConfigError("there is nothing to measure on: no image has a depth")
    means = {name: errors[name][valid].double().mean().item() for name in ERRORS}
    return DepthMetrics(**means, alignment=alignment, images=len(valid), max_depth=max_depth)


def depth_resampler(errors: Mapping[str, Tensor]) -> Resampler:
    """The errors of N images as for :func:`depth_metrics` -> their means over any draw of images with a depth."""

    def resample(index: Tensor) -> dict[str, float]:
        index = index[errors["valid_pixels"][index] > 0]
        return {NAMES[name]: errors[name][index].double().mean().item() for name in ERRORS} if len(index) else {}

    return resample
