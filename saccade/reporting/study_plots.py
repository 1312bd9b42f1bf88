"""Plots of a study: a line for each side, means over seeds with their intervals, every run as a dot."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from saccade.reporting.plots import COLOURS, STYLE

WIDE_RANGE = 8.0  # a positive axis whose ends differ by more than this factor is logarithmic
DECADES = 20.0  # a wider one has labels at powers of ten alone
LEGEND_LINES = 8
MARKED_LEVELS = 8  # an axis of numbers with at most so many different ones has its labels there


@dataclass(frozen=True)
class Marker:
    """One point of a line.

    Attributes:
        x: where, a number or a name.
        cost: FLOPs of training.
        mean: over the seeds.
        interval: of the mean; None for a single seed.
        values: of each seed.
    """

    x: float | str
    cost: float
    mean: float
    interval: tuple[float, float] | None
    values: Sequence[float]


def study_figure(lines: dict[str, list[Marker]], x_name: str, y_name: str, *, compute: bool = True) -> Figure:
    """The value along an axis, and against the compute of training.

    Args:
        lines: name -> its points.
        x_name, y_name: of the axes.
        compute: whether there is a second plot against compute.
    """
    markers = [marker for line in lines.values() for marker in line]
    names = [] if all(isinstance(m.x, int | float) for m in markers) else list(dict.fromkeys(str(m.x) for m in markers))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6 if compute else 6.4, 4.0), layout="constrained", dpi=150)
        left, *others = figure.subplots(1, 2 if compute else 1, sharey=True, squeeze=False)[0]
        for number, (label, line) in enumerate(lines.items()):
            colour = COLOURS[number % len(COLOURS)]
            places = [float(names.index(str(m.x))) if names else float(m.x) for m in line]
            _draw(left, places, line, colour, label)
            for right in others:
                _draw(right, [m.cost for m in line], line, colour, label)
        if names:
            left.set_xticks(range(len(names)), names)
        else:
            _scale(left, [float(m.x) for m in markers], "x")
            levels = sorted({float(m.x) for m in markers})
            if len(levels) <= MARKED_LEVELS:
                left.set_xticks(levels, [f"{level:g}" for level in levels])
                left.xaxis.set_minor_formatter(NullFormatter())
            elif left.get_xscale() == "linear" and all(isinstance(m.x, int) for m in markers):
                left.xaxis.set_major_locator(MaxNLocator(integer=True))  # layers, sizes
        _scale(left, [value for m in markers for value in m.values], "y")
        left.set(xlabel=x_name, ylabel=y_name)
        for right in others:
            _scale(right, [m.cost for m in markers], "x")
            right.set(xlabel="training compute (FLOPs)")
        if len(lines) > 1:
            left.legend(fontsize=8 if len(lines) <= LEGEND_LINES else 6)
        return figure


def _draw(axes: Axes, places: Sequence[float], line: Sequence[Marker], colour: str, label: str) -> None:
    order = sorted(range(len(line)), key=lambda index: places[index])
    axes.plot(
        [places[i] for i in order], [line[i].mean for i in order], color=colour, linewidth=1.6, marker="o",
        markersize=4, label=label,
    )  # fmt: skip
    for place, marker in zip(places, line):
        axes.scatter([place] * len(marker.values), marker.values, color=colour, s=7, alpha=0.5)
        if marker.interval is not None:
            low, high = marker.interval
            axes.vlines(place, max(low, 0.0) if min(marker.values) >= 0 else low, high, color=colour, alpha=0.5)


def _scale(axes: Axes, values: Sequence[float], which: str) -> None:
    if min(values) > 0 and max(values) / min(values) > WIDE_RANGE:
        if which == "x":
            axes.set_xscale("log")
            if max(values) / min(values) > DECADES:
                axes.xaxis.set_minor_formatter(NullFormatter())  # the labels of powers of ten are enough
        else:
            axes.set_yscale("log", nonpositive="clip")
