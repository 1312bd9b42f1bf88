"""Two models of any task on the same inputs: the difference of every main metric, with a paired interval.

The inputs are the same, so the bootstrap is paired: each draw computes a metric of both models on the same inputs, and
the interval is that of the difference. Variation between inputs that affects both models equally cancels.

N inputs in common.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.comparison import better_of, common, interleaved_milliseconds, title_with_direction
from saccade.analysis.cost_by_size import describe
from saccade.engine.evaluation import collect_split
from saccade.engine.intervals import Interval, Resampler
from saccade.engine.predictor import Predictor
from saccade.engine.task import Direction, MakesTargets, RanksMetrics
from saccade.errors import ConfigError, DataError
from saccade.models.cost import measure_cost

RESAMPLES = 1000
EXAMINED = 500  # inputs whose own metrics are compared, evenly spaced


@dataclass(frozen=True)
class ModelCost:
    """One of the two models: its name and architecture, parameters, multiply-adds of an input in units of 10⁹, what a
    training step keeps for it in units of 10⁶ bytes, and the milliseconds of its forward pass; None where inputs are
    texts."""

    name: str
    architecture: str
    params: int
    gmacs: float
    activation_mb: float
    milliseconds: float | None


@dataclass(frozen=True)
class PairedMetric:
    """A metric of both models, each with its 95 % interval, and the first minus the second with the paired one.

    Attributes:
        better: whether the higher or the lower value is; None of what is no quality.
    """

    name: str
    first: Interval
    second: Interval
    difference: Interval
    better: Direction | None = None

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        return not self.difference.low <= 0 <= self.difference.high

    @property
    def best(self) -> int | None:
        """0 where the first model is better, 1 where the second is; None where 0 is inside the interval of the
        difference."""
        return better_of(self.first.value, self.second.value, self.better) if self.differs else None


@dataclass(frozen=True)
class InputDifference:
    """An input and the metric of both models on it alone."""

    name: str
    first: float
    second: float


@dataclass(frozen=True)
class TaskComparison:
    """Two models on the same inputs.

    Attributes:
        task: its name.
        models: the two.
        metrics: those that both have.
        headline: the metric of `largest`; "" where none is defined for an input alone.
        largest: the inputs on which it differs most, the largest difference first.
        inputs: N.
        resamples: draws.
        note: which inputs, and where time was measured.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "metric", "first", "first_low", "first_high", "second", "second_low", "second_high", "difference",
        "difference_low", "difference_high",
    )  # fmt: skip

    task: str
    models: tuple[ModelCost, ModelCost]
    metrics: tuple[PairedMetric, ...]
    headline: str
    largest: tuple[InputDifference, ...]
    inputs: int
    resamples: int
    note: str

    def __str__(self) -> str:
        first, second = (model.name for model in self.models)
        titles = [title_with_direction(metric.name, metric.better) for metric in self.metrics]
        width = max(6, *map(len, titles))
        lines = [
            self.note,
            f"95 % intervals of {self.resamples} draws of the bootstrap; difference: {first} minus {second}, paired; "
            "* is better, where 0 is outside its interval",
            f"{'metric':<{width}}  {first:<28} {second:<28} difference",
        ]
        for title, metric in zip(titles, self.metrics):
            pair = enumerate((metric.first, metric.second))
            cells = [f"{x.value:.4f}{'*' * (i == metric.best)} ({x.low:.4f} to {x.high:.4f})" for i, x in pair]
            d = metric.difference
            mark = "" if metric.differs else ", 0 is inside"
            change = f"{d.value:+.4f} ({d.low:+.4f} to {d.high:+.4f}{mark})"
            lines.append(f"{title:<{width}}  {cells[0]:<28} {cells[1]:<28} {change}")
        for model in self.models:
            time = "" if model.milliseconds is None else f", {model.milliseconds:.2f} ms a forward pass"
            lines.append(
                f"{model.name}: {model.architecture}, {model.params:,} parameters, {model.gmacs:.3f} GMAC{time}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        best = [{"best": None if m.best is None else self.models[m.best].name} for m in self.metrics]
        return {**asdict(self), "metrics": [{**asdict(m), **one} for m, one in zip(self.metrics, best)]}

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (m.name, *(value for x in (m.first, m.second, m.difference) for value in (x.value, x.low, x.high)))
            for m in self.metrics
        ]


def compare_metrics(
    first: Predictor,
    second: Predictor,
    data: str,
    *,
    names: tuple[str, str] | None = None,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    resamples: int = RESAMPLES,
    on_inputs: Callable[[int, int], None] | None = None,
    on_draws: Callable[[int, int], None] | None = None,
) -> TaskComparison:
    """Measure two models of one task on the inputs that both are measured on.

    Args:
        first, second: models of one task with the same classes.
        data: as for :func:`saccade.engine.evaluation.evaluate`.
        names: of the models; their architectures by default.
        split: likewise. With "auto", the inputs that neither model was trained on.
        batch_size: inputs at once.
        workers: loader processes; chosen for the machine by default.
        resamples: draws of the bootstrap, with seed 0.
        on_inputs: called with (inputs done, inputs in all), for each model.
        on_draws: called with (draws done, draws in all).

    Raises:
        ConfigError: the models are of different tasks, or have different classes, or no metric in common.
        DataError: fewer than two inputs were measured for both.
    """
    if first.task.name != second.task.name:
        raise ConfigError(
            f"one model is for {first.task.name} and the other for {second.task.name}: compare models of one task"
        )
    if set(first.labels) != set(second.labels):
        only = sorted(set(first.labels) ^ set(second.labels))
        raise ConfigError(f"the models have different classes: {', '.join(only[:5])} is in one of them only")
    if resamples < 2:
        raise ConfigError(f"an interval needs at least two resamples, not {resamples}")
    excluded = first.task.incomparable_metrics(second.task) if isinstance(first.task, MakesTargets) else {}
    one, two = (collect_split(p, data, p.task, split, batch_size, workers, on_inputs)[0] for p in (first, second))
    left, right = (torch.tensor(rows, dtype=torch.long) for rows in common(one.names, two.names))
    if len(left) < 2:
        raise DataError("fewer than two inputs were measured for both models: choose another --split")
    measures = without(excluded, first.task.resampler(one)), without(excluded, second.task.resampler(two))
    headline, largest = largest_differences(measures, (left, right), [one.names[i] for i in left.tolist()])
    costs = tuple(measure_cost(p.model) for p in (first, second))
    times = interleaved_milliseconds(first, second) if first.reads_images else (None, None)
    titles = names or (first.source.architecture, second.source.architecture)
    models = [
        ModelCost(title, p.source.architecture, cost.params, cost.gmacs, cost.activation_bytes / 1e6, time)
        for title, p, cost, time in zip(titles, (first, second), costs, times)
    ]
    place = f"; time on {describe(first.device)}" if first.reads_images else ""
    return TaskComparison(
        task=first.task.name,
        models=(models[0], models[1]),
        metrics=paired_bootstrap(
            measures, (left, right), first.task.better if isinstance(first.task, RanksMetrics) else None,
            resamples=resamples, on_draws=on_draws,
        ),
        headline=headline,
        largest=largest,
        inputs=len(left),
        resamples=resamples,
        note=f"{len(left)} {first.room.inputs} of {data} that both models are measured on{place}"
        + "".join(f"; without {name}: {reason}" for name, reason in excluded.items()),
    )  # fmt: skip


def without(excluded: Mapping[str, str], measure: Resampler) -> Resampler:
    """The metrics that are comparable between both models.

    Raises:
        ConfigError: there are none; the message has the reason.
    """

    def remaining(index: Tensor) -> Mapping[str, float]:
        scalars = measure(index)
        rest = {name: value for name, value in scalars.items() if name not in excluded}
        if scalars and not rest:
            raise ConfigError(f"the models have no metric in common: {next(iter(excluded.values()))}")
        return rest

    return remaining if excluded else measure


def paired_bootstrap(
    measures: tuple[Resampler, Resampler],
    rows: tuple[Tensor, Tensor],
    better: Mapping[str, Direction] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_draws: Callable[[int, int], None] | None = None,
) -> tuple[PairedMetric, ...]:
    """The metrics of both models and their differences, with 95 % intervals.

    Args:
        measures: of each model, from a draw of its inputs to its metrics.
        rows: ``[N]`` each, the inputs in common, by their numbers in each model's collection.
        better: for which metrics the higher or the lower value is better; none by default.
        resamples: draws of N inputs; those for which a metric is not defined do not count for it.
        seed: of the draws.
        on_draws: called with (draws done, draws in all).

    Raises:
        ConfigError: no metric is defined for both.
    """
    whole = measures[0](rows[0]), measures[1](rows[1])
    names = [name for name in whole[0] if name in whole[1]]
    if not names:
        raise ConfigError("the models have no metric in common")
    values: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    generator = torch.Generator().manual_seed(seed)
    count = len(rows[0])
    for number in range(resamples):
        draw = torch.randint(count, (count,), generator=generator)
        one, two = measures[0](rows[0][draw]), measures[1](rows[1][draw])
        for name in names:
            if name in one and name in two:
                values[name].append((one[name], two[name]))
        if on_draws is not None:
            on_draws(number + 1, resamples)
    metrics = []
    for name in names:
        pair = np.array(values[name] or [(whole[0][name], whole[1][name])])
        metrics.append(
            PairedMetric(
                name,
                _interval(whole[0][name], pair[:, 0]),
                _interval(whole[1][name], pair[:, 1]),
                _interval(whole[0][name] - whole[1][name], pair[:, 0] - pair[:, 1]),
                (better or {}).get(name),
            )
        )
    return tuple(metrics)


def largest_differences(
    measures: tuple[Resampler, Resampler], rows: tuple[Tensor, Tensor], names: Sequence[str]
) -> tuple[str, tuple[InputDifference, ...]]:
    """The first metric that is defined for most inputs alone, and the inputs by how much it differs on them."""
    count = len(names)
    chosen = sorted({i * count // min(count, EXAMINED) for i in range(min(count, EXAMINED))})
    singles: list[tuple[Mapping[str, float], Mapping[str, float]]] = [
        (measures[0](rows[0][i : i + 1]), measures[1](rows[1][i : i + 1])) for i in chosen
    ]
    candidates = list(measures[0](rows[0]))
    defined = {name: [i for i, (a, b) in enumerate(singles) if name in a and name in b] for name in candidates}
    headline = next((name for name in candidates if len(defined[name]) > len(chosen) / 2), "")
    if not headline:
        return "", ()
    differences = [
        InputDifference(names[chosen[i]], singles[i][0][headline], singles[i][1][headline]) for i in defined[headline]
    ]
    ordered = sorted(differences, key=lambda one: -abs(one.first - one.second))
    return headline, tuple(one for one in ordered if one.first != one.second)


def _interval(value: float, draws: np.ndarray) -> Interval:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(float(value), float(low), float(high))
