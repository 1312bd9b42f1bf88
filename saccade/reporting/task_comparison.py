"""The report of a comparison of two models of any task: one HTML file without network requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saccade.analysis.comparison import title_with_direction
from saccade.analysis.paired_metrics import InputDifference, PairedMetric, TaskComparison
from saccade.reporting.better import ComparedRow, compared_row, cost_rows
from saccade.reporting.draw import enlarge
from saccade.reporting.plots import COLOURS, INK, STYLE, figure_of, new_axes, to_svg
from saccade.reporting.report import Report, picture, render_report, template

ROWS = 20  # of the largest differences, where there are no pictures


@dataclass(frozen=True)
class ShownDifference:
    """An image on which the models differ, with the predictions of both drawn, ``[H, W, 3]`` uint8 each."""

    row: InputDifference
    drawn: tuple[np.ndarray, np.ndarray]


def task_comparison_page(
    comparison: TaskComparison,
    pictures: Sequence[ShownDifference] = (),
    *,
    unit: str = "inputs",
    environment: Mapping[str, Any] | None = None,
    command: str = "",
) -> str:
    """The page as text.

    Args:
        comparison: the numbers.
        pictures: some of the largest differences.
        unit: what was drawn, such as "images".
        environment: versions and machine.
        command: command that makes the page again.
    """
    first, second = comparison.models
    section = template("saccade.reporting", "task_comparison").render(
        comparison=comparison,
        unit=unit,
        rows=comparison.largest[:ROWS],
        metrics=[(metric, metric_row(metric)) for metric in comparison.metrics],
        costs=cost_rows(comparison.models),
        plot=Markup(to_svg(difference_figure(comparison))),
        pictures=[
            {
                "name": one.row.name,
                "scores": [f"{value:.3f}" for value in (one.row.first, one.row.second)],
                "first": picture(enlarge(one.drawn[0])),
                "second": picture(enlarge(one.drawn[1])),
            }
            for one in pictures
        ],
    )
    main = comparison.metrics[0]
    tiles = {
        f"{main.name} of {first.name}": f"{main.first.value:.4f}",
        f"{main.name} of {second.name}": f"{main.second.value:.4f}",
        "difference": f"{main.difference.value:+.4f}",
        unit: f"{comparison.inputs:,}",
    }
    return render_report(
        Report(
            title=f"{first.name} and {second.name}", note=comparison.note, tiles=tiles, sections=[Markup(section)],
            environment=environment or {}, command=command,
        )
    )  # fmt: skip


def metric_row(metric: PairedMetric) -> ComparedRow:
    """Both values with their intervals."""
    pair = metric.first, metric.second
    return compared_row(
        metric.name, [f"{x.value:.4f}" for x in pair], metric.best, metric.better,
        [f"{x.low:.4f} to {x.high:.4f}" for x in pair],
    )  # fmt: skip


def difference_figure(comparison: TaskComparison) -> Figure:
    """The differences of all metrics with their paired intervals."""
    with mpl.rc_context(STYLE):
        return figure_of(draw_differences(comparison))


def draw_differences(comparison: TaskComparison, ax: Axes | None = None) -> Axes:
    """One row per metric, relative to its larger value, since units differ; on new axes by default."""
    axes = new_axes(6.4, 0.4 * len(comparison.metrics) + 1.3) if ax is None else ax
    for row, metric in enumerate(comparison.metrics):
        scale = max(abs(metric.first.value), abs(metric.second.value), 1e-12)
        value, low, high = (x / scale for x in (metric.difference.value, metric.difference.low, metric.difference.high))
        reach = [[max(value - low, 0)], [max(high - value, 0)]]
        axes.errorbar([value], [row], xerr=reach, fmt="o", color=COLOURS[0] if metric.differs else INK, markersize=4)
    axes.axvline(0, color=INK, alpha=0.4, linewidth=1)
    names = [title_with_direction(metric.name, metric.better) for metric in comparison.metrics]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(comparison.metrics) - 0.4, -0.6)
    first, second = (model.name for model in comparison.models)
    axes.set_xlabel(f"{first} minus {second}, in units of the larger")
    return axes
