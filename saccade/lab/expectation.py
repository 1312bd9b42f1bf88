"""Expectations of a study compared with its runs: confirmed, contradicted, or undecided by these seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from saccade.errors import ConfigError
from saccade.lab.config import ExpectationConfig
from saccade.lab.grid import Job, describe
from saccade.lab.jobs import JobResult
from saccade.lab.results import student_interval
from saccade.lab.study import LAYER, Study

Verdict = Literal["confirmed", "contradicted", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """Two levels of an axis, of which the first is expected to have the lower value.

    Attributes:
        at: levels of the other axes.
        lower, higher: the levels.
        means: of the runs at each of the two.
        seeds: that both have; differences are taken seed by seed.
        interval: 95 % interval (Student) of the mean difference, higher less lower; None for fewer than two seeds.
    """

    at: Mapping[str, Any]
    lower: Any
    higher: Any
    means: tuple[float, float]
    seeds: int
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> Verdict:
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "undecided"
        return "confirmed" if self.interval[0] > 0 else "contradicted"


@dataclass(frozen=True)
class Finding:
    """An expectation and its comparisons; none where no run that it is about is done."""

    expectation: ExpectationConfig
    comparisons: tuple[Comparison, ...]

    @property
    def verdict(self) -> Verdict:
        """Contradicted by a single comparison, confirmed by all."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        if "contradicted" in verdicts:
            return "contradicted"
        return "confirmed" if verdicts == {"confirmed"} else "undecided"


def findings(study: Study, pairs: Sequence[tuple[Job, JobResult]]) -> list[Finding]:
    """Each expectation of a study with the comparisons of its runs.

    Raises:
        ConfigError: runs have no such number, or it is one for each layer and the axis is another.
    """
    return [Finding(one, tuple(_comparisons(study, one, pairs))) for one in study.config.expectation]


def first_paragraph(results: Sequence[Finding], seeds: int) -> str:
    """Contradicted expectations first, then undecided ones, then confirmed ones."""
    if not results:
        return "The study's file states no expectation that its runs could contradict."
    heads = {
        "contradicted": "Contrary to expectation",
        "undecided": f"Not decided by {seeds} seed" + "s" * (seeds != 1),
        "confirmed": "As expected",
    }
    parts = []
    for verdict, head in heads.items():
        own = [finding for finding in results if finding.verdict == verdict]
        if own:
            texts = [_with_numbers(finding) if verdict == "contradicted" else _claim(finding) for finding in own]
            parts.append(f"{head}: {'; '.join(texts)}.")
    if not any(finding.verdict == "contradicted" for finding in results):
        parts.insert(0, "No expectation was contradicted.")
    return " ".join(parts)


def _claim(finding: Finding) -> str:
    remark = "" if finding.comparisons else " (no such run is done)"
    if any(comparison.means[0] > comparison.means[1] for comparison in finding.comparisons):
        remark = " (its means are the other way)"
    return f"“{finding.expectation.claim.rstrip('.')}”{remark}"


def _with_numbers(finding: Finding) -> str:
    wrong = [comparison for comparison in finding.comparisons if comparison.verdict == "contradicted"]
    metric = finding.expectation.metric
    name = f"1 - {metric}" if finding.expectation.as_error else metric
    shown = [
        f"{name} {one.means[0]:.4g} of {one.lower} against {one.means[1]:.4g} of {one.higher}"
        + (f" at {describe(one.at)}" if one.at else "")
        for one in wrong
    ]
    return f"“{finding.expectation.claim.rstrip('.')}” does not hold ({', '.join(shown)})"


def _comparisons(study: Study, one: ExpectationConfig, pairs: Sequence[tuple[Job, JobResult]]) -> list[Comparison]:
    groups: dict[str, dict[Any, dict[int, float]]] = {}  # other levels -> level -> seed -> value
    others: dict[str, dict[str, Any]] = {}
    for job, result in pairs:
        at = {axis: level for axis, level in job.levels.items() if axis != one.axis}
        if one.metric not in result.values or any(at[axis] not in levels for axis, levels in one.at.items()):
            continue
        value = result.values[one.metric]
        if isinstance(value, list) != (one.axis == LAYER):
            raise ConfigError(
                f"expectation: {one.metric} is "
                + (f"a number for each layer: set axis: {LAYER}" if isinstance(value, list) else "one number of a run")
            )
        numbers = dict(enumerate(value, 1)) if isinstance(value, list) else {job.levels[one.axis]: value}
        group = groups.setdefault(repr(at), {})
        others[repr(at)] = at
        for level, number in numbers.items():
            if number is not None:
                group.setdefault(level, {})[job.seed] = 1 - number if one.as_error else number
    comparisons = []
    for key, group in groups.items():
        for lower, higher in _neighbours(one, list(group) if one.axis == LAYER else study.levels(one.axis)):
            if lower in group and higher in group:
                comparisons.append(_compare(others[key], lower, higher, group[lower], group[higher]))
    return comparisons


def _neighbours(one: ExpectationConfig, levels: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pairs of levels, of which the first is expected to have the lower value."""
    if one.order in ("rising", "falling"):
        ends = (levels[0], levels[-1])
        return [ends if one.order == "rising" else ends[::-1]]
    return list(zip(one.order, one.order[1:]))


def _compare(
    at: Mapping[str, Any], lower: Any, higher: Any, low: Mapping[int, float], high: Mapping[int, float]
) -> Comparison:
    seeds = sorted(set(low) & set(high))
    interval = student_interval([high[seed] - low[seed] for seed in seeds]) if len(seeds) > 1 else None
    means = (float(np.mean(list(low.values()))), float(np.mean(list(high.values()))))
    return Comparison(at, lower, higher, means, len(seeds), interval)
