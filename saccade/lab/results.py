"""What a study's jobs gave: a row for each, means over seeds with intervals, and how long the rest will take."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from saccade.errors import ConfigError
from saccade.lab.driver import is_locked
from saccade.lab.jobs import JobResult, StudyDirectory
from saccade.lab.study import Job, Study

LEVEL = 0.95


@dataclass(frozen=True)
class Point:
    """The runs of one point of the grid, which differ in their seed.

    Attributes:
        levels: axis -> level.
        values: the metric of each seed, or 1 - metric.
        params: of the model.
        flops, seconds: of training, means over the seeds.
    """

    levels: Mapping[str, Any]
    values: tuple[float, ...]
    params: int
    flops: float
    seconds: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean over seeds; None for a single seed."""
        count = len(self.values)
        if count < 2:
            return None
        half = stats.t.ppf((1 + LEVEL) / 2, count - 1) * float(np.std(self.values, ddof=1)) / count**0.5
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Status:
    """How far a study is.

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


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min", "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def status(folder: StudyDirectory, study: Study) -> Status:
    """Count the jobs, and estimate the time of those that are not done by those of the same levels, else by all."""
    results = [folder.result(job) for job in study.jobs]
    running = [result is None and is_locked(folder, job) for job, result in zip(study.jobs, results)]
    by_point: dict[str, list[int]] = {}
    for index, job in enumerate(study.jobs):
        by_point.setdefault(repr(dict(job.levels)), []).append(index)
    points = tuple(
        (
            study.jobs[indices[0]].levels,
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
                    left += max(estimate - folder.progress(study.jobs[i])[1], 0.0)
        left /= max(1, sum(running))
    return Status(points, len(done), sum(running), len(study.jobs), left)


def collect(folder: StudyDirectory, study: Study) -> list[tuple[Job, JobResult]]:
    """The jobs that are done.

    Raises:
        ConfigError: none is, or they have no metric of the report's name.
    """
    pairs = [(job, result) for job in study.jobs if (result := folder.result(job)) is not None]
    if not pairs:
        raise ConfigError(f"{folder.path} has no finished job yet: saccade lab run {folder.path / 'study.yaml'}")
    name = study.config.report.metric
    for job, result in pairs:
        if name not in result.metrics:
            names = ", ".join(result.metrics) or "none"
            raise ConfigError(f"report.metric: {job.id} has no metric {name!r}; there are {names}")
    return pairs


def points(study: Study, pairs: Sequence[tuple[Job, JobResult]]) -> list[Point]:
    """Runs that differ in their seed alone, together; in the order of the grid."""
    groups: dict[str, list[tuple[Job, JobResult]]] = {}
    for job, result in pairs:
        groups.setdefault(repr(dict(job.levels)), []).append((job, result))
    return [
        Point(
            levels=group[0][0].levels,
            values=tuple(shown(study, result) for _, result in group),
            params=group[0][1].params,
            flops=float(np.mean([result.flops for _, result in group])),
            seconds=float(np.mean([result.seconds for _, result in group])),
        )
        for group in groups.values()
    ]


def shown(study: Study, result: JobResult) -> float:
    """The value that the report shows of a job."""
    value = result.metrics[study.config.report.metric]
    return 1 - value if study.config.report.as_error else value


def to_csv(study: Study, pairs: Sequence[tuple[Job, JobResult]]) -> str:
    """A row for each job: its axes, cost, time, the value that the report shows, and every metric."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    metrics = list(dict.fromkeys(name for _, result in pairs for name in result.metrics))
    name = value_name(study)
    extra = [name] if study.config.report.as_error else []
    writer.writerow(["job", *study.axes, "seed", "params", "inputs", "flops", "seconds", "split", *metrics, *extra])
    for job, result in pairs:
        more = [shown(study, result)] if extra else []
        writer.writerow([
            job.id, *job.levels.values(), job.seed, result.params, result.inputs, result.flops, result.seconds,
            result.split, *(result.metrics.get(metric, "") for metric in metrics), *more,
        ])  # fmt: skip
    return buffer.getvalue()


def value_name(study: Study) -> str:
    """What the report shows, such as "accuracy" or "error (1 - accuracy)"."""
    report = study.config.report
    return f"error (1 - {report.metric})" if report.as_error else report.metric
