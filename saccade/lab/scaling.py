"""Scaling laws of a study's runs: fitted line by line, checked on the largest cost; and the optimal use of a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.analysis.joint_scaling import Allocation, JointScalingLaw, fit_joint_scaling_law
from saccade.analysis.scaling_laws import ScalingLaw, fit_scaling_law, frontier
from saccade.errors import ConfigError, DataError
from saccade.lab.config import PanelConfig
from saccade.lab.grid import Job
from saccade.lab.jobs import JobResult
from saccade.lab.study import Study

JOINT = "joint"
BUDGETS = (1.0, 10.0, 100.0)  # of the costliest run, for which a joint law divides compute
LEAST_COSTS = 5  # that four parameters can be fitted to; the largest is held out where there are more


@dataclass(frozen=True)
class Run:
    """A finished run as a law takes it: its levels, cost and error."""

    levels: Mapping[str, Any]
    cost: float
    error: float
    params: float
    inputs: float
    flops: float


@dataclass(frozen=True)
class Optimum:
    """A point of the grid that no point of the same or a smaller cost beats.

    Attributes:
        levels: of the grid.
        cost: mean over its seeds.
        error: mean over its seeds.
        params, inputs: of the model, and seen in training.
    """

    levels: Mapping[str, Any]
    cost: float
    error: float
    params: float
    inputs: float


@dataclass(frozen=True)
class LineFit:
    """The law of a line of a plot.

    Attributes:
        name: of the line; "" for all runs.
        law: None where there is none.
        problem: why there is none.
        optima: the compute-optimal frontier, from the cheapest.
        allocations: (budget in FLOPs, how the joint law divides it).
    """

    name: str
    law: ScalingLaw | JointScalingLaw | None
    problem: str
    optima: tuple[Optimum, ...]
    allocations: tuple[tuple[float, Allocation], ...] = ()


def fit_lines(study: Study, panel: PanelConfig, pairs: Sequence[tuple[Job, JobResult]]) -> list[LineFit]:
    """The law of each line of a plot with `fit`; a problem is a sentence in its place, not an error."""
    lines: dict[str, list[Run]] = {}
    cost_name = "flops" if panel.fit == JOINT else panel.fit
    for job, result in pairs:
        cost = job.levels[cost_name] if cost_name in study.axes else result.values.get(cost_name)
        value = result.values.get(panel.metric)
        if not isinstance(cost, int | float) or not isinstance(value, int | float):
            continue
        flops = result.flops + result.stage_flops
        error = 1 - value if panel.as_error else value
        run = Run(job.levels, float(cost), error, float(result.params), float(result.inputs), flops)
        lines.setdefault(str(job.levels[panel.lines]) if panel.lines else "", []).append(run)
    if not lines:
        return [LineFit("", None, f"no finished run has {panel.metric} and {panel.fit}", ())]
    return [_fit_joint(name, runs) if panel.fit == JOINT else _fit(name, runs, panel) for name, runs in lines.items()]


def _fit(name: str, runs: Sequence[Run], panel: PanelConfig) -> LineFit:
    optima = best_points(runs)
    if panel.frontier:
        best = [repr(dict(point.levels)) for point in optima]
        runs = [run for run in runs if repr(dict(run.levels)) in best]
    costs = sorted({run.cost for run in runs})
    largest = costs[-1] if len(costs) > LEAST_COSTS else None
    fitted = [run for run in runs if run.cost != largest]
    try:
        law = fit_scaling_law(
            [run.cost for run in fitted],
            [run.error for run in fitted],
            held_out=[(run.cost, run.error) for run in runs if run.cost == largest],
        )
    except (ConfigError, DataError) as error:
        return LineFit(name, None, str(error), optima)
    return LineFit(name, law, "", optima)


def _fit_joint(name: str, runs: Sequence[Run]) -> LineFit:
    optima = best_points(runs)
    try:
        law = fit_joint_scaling_law([r.params for r in runs], [r.inputs for r in runs], [r.error for r in runs])
    except (ConfigError, DataError) as error:
        return LineFit(name, None, str(error), optima)
    pair = float(np.median([run.flops / (run.params * run.inputs) for run in runs]))
    largest = max(run.flops for run in runs)
    budgets = [factor * largest for factor in BUDGETS]
    shares = tuple((budget, law.allocate(budget, flops_per_pair=pair)) for budget in budgets)
    return LineFit(name, law, "", optima, shares)


def best_points(runs: Sequence[Run]) -> tuple[Optimum, ...]:
    """The frontier of the means over seeds."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(dict(run.levels)), []).append(run)
    points = [
        Optimum(
            group[0].levels,
            *(float(np.mean([getattr(run, name) for run in group])) for name in ("cost", "error", "params", "inputs")),
        )
        for group in groups.values()
    ]
    return tuple(points[i] for i in frontier([p.cost for p in points], [p.error for p in points]))
