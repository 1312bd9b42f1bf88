"""Plots of a study: a line per side with means over seeds and their intervals, and a dot per run."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from saccade.reporting.plots import COLOURS, STYLE

WIDE_RANGE = 8.0  # a positive axis whose ends differ by more than this factor is logarithmic
DECADES = {"x": 20.0, "y": 200.0}  # a wider one has labels at powers of ten alone
LEGEND_LINES = 8
MARKED_LEVELS = 8  # an axis of numbers with at most so many different ones has its labels there
CLOSEST_TICKS = 0.07  # of the axis: between two marked levels
SPREAD = 0.3  # of the smallest distance between two levels, over which the lines of one level lie side by side
LARGE = 1e4  # numbers from here on have a unit prefix: 250 k
COUNTED = 1e6  # levels below have all their digits
EQUAL_COST = 1.05  # compute that differs by less than this factor is the same
LABEL_WIDTH, NAME_WIDTH = 34, 15  # characters of a line: of an axis, of a level


@dataclass(frozen=True)
class Marker:
    """One point of a line.

    Attributes:
        x: position on the axis, a number or a name.
        cost: training compute in FLOPs.
        mean: mean over the seeds.
        interval: interval of the mean; None for a single seed.
        values: value of each seed.
    """

    x: float | str
    cost: float
    mean: float
    interval: tuple[float, float] | None
    values: Sequence[float]


def study_figure(
    lines: Mapping[str, Sequence[Marker]], x_name: str, y_name: str, *, compute: bool = True, legend: str = ""
) -> Figure:
    """The value along an axis, and over training compute if that varies along a line.

    Args:
        lines: name -> its points.
        x_name, y_name: names of the axes.
        compute: whether there may be a second plot against compute.
        legend: title of the legend.
    """
    lines = {_drawable(name): line for name, line in lines.items()}
    markers = [marker for line in lines.values() for marker in line]
    names = [] if all(isinstance(m.x, int | float) for m in markers) else list(dict.fromkeys(str(m.x) for m in markers))
    compute = compute and any(_cost_differs(line) for line in lines.values())
    width = 9.6 if compute else 6.4
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 4.0), layout="constrained", dpi=150)
        left, *others = figure.subplots(1, 2 if compute else 1, sharey=True, squeeze=False)[0]
        levels = [float(i) for i in range(len(names))] or sorted({float(m.x) for m in markers})
        log = not names and _is_wide(levels)
        for number, (name, line) in enumerate(lines.items()):
            colour = COLOURS[number % len(COLOURS)]
            places = [float(names.index(str(m.x))) if names else float(m.x) for m in line]
            shift = _shift(levels, number, len(lines), log=log)
            shifted = [place * math.exp(shift) if log else place + shift for place in places]
            _draw(left, shifted, line, colour, name, joined=all(map(_is_number, names)))
            for right in others:
                _draw(right, [m.cost for m in line], line, colour, name)
        if names:
            left.set_xticks(levels, [textwrap.fill(_drawable(name), NAME_WIDTH) for name in names])
            left.set_xlim(-0.5, len(names) - 0.5)
        else:
            scale_axis(left.xaxis, levels)
            _mark_levels(left, levels, whole=all(isinstance(m.x, int) for m in markers))
        _scale_values(left, markers)
        left.set(xlabel=textwrap.fill(x_name, LABEL_WIDTH), ylabel=textwrap.fill(y_name, LABEL_WIDTH))
        for right in others:
            scale_axis(right.xaxis, [m.cost for m in markers])
            right.set(xlabel="training compute (FLOPs)")
        if len(lines) > 1:
            add_legend(figure, left, legend)
        return figure


def scale_axis(axis: Axis, values: Sequence[float]) -> None:
    """Make an axis logarithmic if positive values differ much, with labels that do not overlap."""
    if _is_wide(values):
        which = "x" if isinstance(axis, XAxis) else "y"
        axis.axes.set(**{f"{which}scale": "log"})
        narrow = max(values) / min(values) <= DECADES[which]
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
        axis.set_major_formatter(FuncFormatter(_power))
        axis.set_minor_formatter(NullFormatter())
    elif max(map(abs, values)) >= LARGE:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(EngFormatter(sep=" "))


def add_legend(figure: Figure, axes: Axes, title: str) -> None:
    """Legend above the plots, where it covers nothing."""
    handles, names = axes.get_legend_handles_labels()
    size = 8 if len(names) <= LEGEND_LINES else 7
    columns = max(1, int(figure.get_figwidth() / (0.6 + 0.0085 * size * max(map(len, names)))))
    legend = figure.legend(
        handles, names, loc="outside upper left", ncols=min(columns, len(names)), fontsize=size, title=title or None,
        title_fontsize=size,
    )  # fmt: skip
    legend.set_alignment("left")


def _cost_differs(line: Sequence[Marker]) -> bool:
    costs = [marker.cost for marker in line]
    return max(costs) > EQUAL_COST * min(costs)


def _drawable(name: str) -> str:
    """Escape control characters, for which no font has a glyph, and $, which would begin a formula."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name).replace("$", r"\$")


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > WIDE_RANGE


def _shift(levels: Sequence[float], number: int, count: int, *, log: bool) -> float:
    """Offset of a line along the axis, so that intervals of several lines at one level do not overlap."""
    if count == 1 or not 1 < len(levels) <= MARKED_LEVELS:
        return 0.0
    places = [math.log(level) for level in levels] if log else levels
    gap = min(b - a for a, b in pairwise(places))
    spread = min(SPREAD * gap, 0.1 * (places[-1] - places[0]))
    return spread * (number / (count - 1) - 0.5)


def _draw(
    axes: Axes, places: Sequence[float], line: Sequence[Marker], colour: str, name: str, *, joined: bool = True
) -> None:
    order = sorted(range(len(line)), key=lambda index: places[index])
    axes.plot(
        [places[i] for i in order], [line[i].mean for i in order], color=colour, linewidth=1.6 if joined else 0,
        marker="o", markersize=4, label=name,
    )  # fmt: skip
    for place, marker in zip(places, line):
        axes.scatter([place] * len(marker.values), marker.values, color=colour, s=7, alpha=0.5)
        if marker.interval is not None:
            low, high = marker.interval
            axes.vlines(place, max(low, 0.0) if min(marker.values) >= 0 else low, high, color=colour, alpha=0.5)


def _mark_levels(axes: Axes, levels: Sequence[float], *, whole: bool) -> None:
    """Labels at the levels themselves if they are few and far enough apart."""
    log = axes.get_xscale() == "log"
    places = [math.log(level) for level in levels] if log else levels
    gaps = [(b - a) / (places[-1] - places[0]) for a, b in pairwise(places)]
    if len(levels) <= MARKED_LEVELS and min(gaps, default=1.0) >= CLOSEST_TICKS:
        axes.set_xticks(levels, [_level(level) for level in levels])
        axes.xaxis.set_minor_locator(NullLocator())
    elif not log and whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # layers, sizes


def _scale_values(axes: Axes, markers: Sequence[Marker]) -> None:
    """Scale of the values; on a logarithmic scale an interval that extends far below every run is clipped at the
    edge."""
    values = [value for marker in markers for value in marker.values]
    scale_axis(axes.yaxis, values)
    if axes.get_yscale() == "log":
        axes.set_ylim(bottom=min(values) / 1.6)


def _level(value: float) -> str:
    """A label of a level: 0.3, 50,000, 1.88 x 10^9."""
    if value < LARGE:
        return f"{value:g}"
    if value < COUNTED:
        return f"{value:,.0f}"
    digits, exponent = f"{value:.2e}".split("e")
    return f"${digits} \\times 10^{{{int(exponent)}}}$"


def _power(value: float, _: int | None = None) -> str:
    """A label of a logarithmic axis: 0.02, 500, 2 x 10^11."""
    if 1e-3 <= value < LARGE:
        return f"{value:g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    factor = round(value / 10**exponent)
    return f"$10^{{{exponent}}}$" if factor == 1 else f"${factor} \\times 10^{{{exponent}}}$"
