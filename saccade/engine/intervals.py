"""Uncertainty of the metrics of a split: percentile intervals of the bootstrap (Efron, Annals of Statistics, 1979).

A split is one sample of the possible inputs of a model. Inputs are drawn from it with replacement, as many as it has,
many times, and every metric is computed for each draw; the interval contains 95 % of the values. The model is the same
for all draws: the variation between training runs is not included.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.engine.collect import Collected
from saccade.engine.results import Metrics
from saccade.errors import ConfigError

Resampler = Callable[[Tensor], Mapping[str, float]]  # indices of inputs ``[n]``, some repeated -> metrics by name


@dataclass(frozen=True)
class Interval:
    """A metric of the whole split, and its interval over bootstrap draws."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """An interval for every metric.

    Attributes:
        metrics: intervals by name.
        inputs: number of inputs in the split.
        level: fraction of the draws whose value is in the interval.
        resamples: number of draws.
        seed: of the draws.
    """

    metrics: Mapping[str, Interval]
    inputs: int
    level: float
    resamples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        width = max(len(name) for name in self.metrics)
        lines = [
            f"{name:<{width}}  {metric.value:>9.4f}  {metric.low:>9.4f} to {metric.high:.4f}"
            for name, metric in self.metrics.items()
        ]
        title = f"{self.level:.0%} intervals of the bootstrap, {self.resamples} draws of {self.inputs} inputs"
        return "\n".join([title, *lines])


def bootstrap(
    resampler: Resampler, inputs: int, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Intervals:
    """Intervals of the metrics of a split.

    Args:
        resampler: as :meth:`saccade.engine.task.Task.resampler` returns it. An undefined metric may be missing; draws
            without it are not used for it.
        inputs: N, number of inputs in the split.
        resamples: number of draws of N inputs.
        level: fraction of the draws inside the interval.
        seed: of the draws.

    Raises:
        ConfigError: fewer than two inputs or draws, or a level outside (0, 1).
    """
    if inputs < 2:
        raise ConfigError(f"an interval needs at least two inputs, and there are {inputs}")
    if resamples < 2:
        raise ConfigError(f"an interval needs at least two resamples, not {resamples}")
    if not 0 < level < 1:
        raise ConfigError(f"the level of an interval must be between 0 and 1, not {level}")
    generator = torch.Generator().manual_seed(seed)
    whole = resampler(torch.arange(inputs))
    values: dict[str, list[float]] = {name: [] for name in whole}
    for _ in range(resamples):
        draw = resampler(torch.randint(inputs, (inputs,), generator=generator))
        for name in whole:
            if name in draw:
                values[name].append(draw[name])
    tail = (1 - level) / 2
    intervals = {}
    for name, value in whole.items():
        low, high = np.quantile(values[name], (tail, 1 - tail)) if values[name] else (value, value)
        intervals[name] = Interval(value, float(low), float(high))
    return Intervals(intervals, inputs, level, resamples, seed)


def remeasure(measure: Callable[[Collected], Metrics], collected: Collected) -> Resampler:
    """The main metrics of each draw; for tasks whose collected tensors have one row per input."""

    def resample(index: Tensor) -> Mapping[str, float]:
        names = tuple(collected.names[i] for i in index.tolist())
        return measure(Collected({name: rows[index] for name, rows in collected.tensors.items()}, names)).scalars()

    return resample
