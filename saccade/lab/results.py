"""Results of a study's jobs: means over seeds with intervals, and the remaining time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from saccade.errors import ConfigError
from saccade.lab.config import PanelConfig
from saccade.lab.driver import is_locked
from saccade.lab.grid import Job
from saccade.lab.jobs import JobResult, StudyDirectory
from saccade.lab.labels import label
from saccade.lab.measuring import Value
from saccade.lab.study import LAYER, Study

LEVEL = 0.95


@dataclass(frozen=True)
class Point:
    """The runs of one point of the grid, which differ in their seed.

    Attributes:
        levels: axis -> level.
        x: where it lies: a level, a mean of the runs' numbers, or a layer from 1.
        values: the metric of each seed, or 1 - metric.
        params: of the model.
        flops, stage_flops: of training and of the runs before it, means over the seeds.
        cpu_seconds: of both.
    """

    levels: Mapping[str, Any]
    x: Any
    values: tuple[float, ...]
    params: int
    flops: float
    stage_flops: float
    cpu_seconds: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean over seeds; None for a single seed."""
        return student_interval(self.values)


@dataclass(frozen=True)
class Status:
    """Progress of a study.

    Attributes:
        points: for each point of the grid: levels, jobs done, running and in all.
        done, running, total: jobs.
        seconds_left: of the jobs that are not done, divided by the processes that run now (at least one); None before
            the first job is done.
    """

    points: tuple[tuple[Mapping[str, Any], int, int, int], ...]
    done: int
    running: int
    total: int
    seconds_left: float | None

    def __str__(self) -> str:
        axes = list(self.points[0][0])
        lines = [(*axes, "done", "running", "of")]
        lines += [
            (*(str(levels[axis]) for axis in axes), str(done), str(running), str(count))
            for levels, done, running, count in self.points
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        table = [
            "  ".join(
                cell.ljust(w) if i < len(axes) else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))
            )
            for line in lines
        ]
        left = "unknown before the first job is done"
        if self.seconds_left is not None:
            left = f"about {duration(self.seconds_left)}"
        end = "" if self.done == self.total else f"; time left: {left}"
        return "\n".join([*table, f"{self.done} of {self.total} jobs done, {self.running} running{end}"])


def student_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval of the mean; None for a single value."""
    count = len(values)
    if count < 2:
        return None
    mean = float(np.mean(values))
    half = stats.t.ppf((1 + LEVEL) / 2, count - 1) * float(np.std(values, ddof=1)) / count**0.5
    return mean - half, mean + half


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min", "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def status(folder: StudyDirectory, study: Study) -> Status:
    """Count the jobs, and estimate the time of those that are not done by those of the same levels, else by all."""
    runs = study.runs
    results = [folder.result(job) if folder.done(job) else None for job in runs]
    running = [result is None and is_locked(folder, job) for job, result in zip(runs, results)]
    by_point: dict[str, list[int]] = {}
    for index, job in enumerate(runs):
        by_point.setdefault(repr((job.stage, dict(job.levels))), []).append(index)
    points = tuple(
        (
            {**dict.fromkeys(study.axes, ""), **(runs[indices[0]].levels or {study.axes[0]: runs[indices[0]].stage})},
            sum(results[i] is not None for i in indices),
            sum(running[i] for i in indices),
            len(indices),
        )
        for indices in by_point.values()
    )
    done = [result for result in results if result is not None]
    left = None
    if done:
        everything = float(np.mean([result.wall_seconds for result in done]))
        left = 0.0
        for indices in by_point.values():
            same = [result.wall_seconds for i in indices if (result := results[i]) is not None]
            estimate = float(np.mean(same)) if same else everything
            for i in indices:
                if results[i] is None:
                    left += max(estimate - folder.progress(runs[i])[1], 0.0)
        left /= max(1, sum(running))
    return Status(points, len(done), sum(running), len(runs), left)


def collect(folder: StudyDirectory, study: Study) -> list[tuple[Job, JobResult]]:
    """The jobs of the grid that are done.

    Raises:
        ConfigError: none is.
    """
    pairs = [(job, result) for job in study.jobs if folder.done(job) and (result := folder.result(job)) is not None]
    if not pairs:
        raise ConfigError(f"{folder.path} has no finished job yet: saccade lab run {folder.path / 'study.yaml'}")
    return pairs


def points(study: Study, panel: PanelConfig, pairs: Sequence[tuple[Job, JobResult]]) -> list[Point]:
    """Runs that differ in their seed alone, together; in the order of the grid, and of the layers.

    Runs without the panel's number are left out: a measure may be taken at some levels of the grid alone.

    Raises:
        ConfigError: no run has the number, or it is one for each layer and is plotted over something else.
    """
    x = study.x(panel)
    groups: dict[str, list[tuple[Job, JobResult]]] = {}
    for job, result in pairs:
        if panel.metric in result.values and (x in (*study.axes, LAYER) or x in result.values):
            groups.setdefault(repr(dict(job.levels)), []).append((job, result))
    if not groups:
        names = ", ".join(dict.fromkeys(name for _, result in pairs for name in result.values))
        wanted = panel.metric if x in (*study.axes, LAYER) else f"{panel.metric} over {x}"
        raise ConfigError(f"report: no finished run has {wanted}; there are {names}")
    averages: list[Point] = []
    for group in groups.values():
        values = [result.values[panel.metric] for _, result in group]
        layered = any(isinstance(value, list) for value in values)
        if layered != (x == LAYER):
            has = (
                f"a number for each layer: set x: {LAYER}" if layered else f"one number: choose another x than {LAYER}"
            )
            raise ConfigError(f"report: {panel.metric} is {has}")
        if not layered:
            averages.append(_point(panel, group, _place(study, x, group), [number(value) for value in values]))
            continue
        columns = zip(*(value for value in values if isinstance(value, list)))
        averages += [
            _point(panel, group, layer, [number(value) for value in column])
            for layer, column in enumerate(columns, 1)
            if None not in column
        ]
    return averages


def _point(panel: PanelConfig, group: Sequence[tuple[Job, JobResult]], x: Any, values: Sequence[float]) -> Point:
    return Point(
        levels=group[0][0].levels,
        x=x,
        values=tuple(1 - value if panel.as_error else value for value in values),
        params=group[0][1].params,
        flops=float(np.mean([result.flops for _, result in group])),
        stage_flops=float(np.mean([result.stage_flops for _, result in group])),
        cpu_seconds=float(np.mean([number(result.values["cpu_seconds"]) for _, result in group])),
    )


def _place(study: Study, x: str, group: Sequence[tuple[Job, JobResult]]) -> Any:
    """Where a point lies along x."""
    if x in study.axes:
        return group[0][0].levels[x]
    return float(np.mean([number(result.values[x]) for _, result in group]))


def number(value: Value | None) -> float:
    """A number as a float.

    Raises:
        ConfigError: it is one for each layer.
    """
    if value is None or isinstance(value, list):
        raise ConfigError("report: a number for each layer cannot be the x of a plot")
    return float(value)


def value_name(panel: PanelConfig) -> str:
    """The value of a panel, such as "accuracy" or "error (1 - accuracy)"."""
    name = label(panel.metric)
    return f"error (1 - {name})" if panel.as_error else name
