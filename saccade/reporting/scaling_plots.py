"""Plots of error against cost, with the fitted law."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from saccade.analysis.joint_scaling import JointScalingLaw
from saccade.analysis.scaling_laws import ScalingLaw
from saccade.reporting.plots import COLOURS, STYLE

POINTS = 80  # of a curve


def scaling_figure(law: ScalingLaw, cost_name: str = "cost", error_name: str = "error") -> Figure:
    """Measured runs, the law with the interval of a single run, its floor, and held-out runs as open circles."""
    held = [(one.cost, one.measured) for one in law.held_out]
    last = max([*law.costs, *(cost for cost, _ in held)])
    grid = np.geomspace(law.costs.min(), last * (1.0 if held else 3.0), POINTS)
    predictions = [law.predict(cost) for cost in grid]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained", dpi=150)
        axes = figure.subplots()
        axes.fill_between(
            grid, [p.low for p in predictions], [p.high for p in predictions], color=COLOURS[0], alpha=0.18,
            linewidth=0, label="95 % of single runs",
        )  # fmt: skip
        a, b, c, d = law.values
        formula = f"{a:.3g} + {b:.3g} (C + {c:.3g})$^{{-{d:.3g}}}$"
        axes.plot(grid, [p.error for p in predictions], color=COLOURS[0], linewidth=1.6, label=formula)
        axes.scatter(law.costs, law.errors, color=COLOURS[0], s=22, zorder=3, label="fitted runs")
        if held:
            axes.scatter(*zip(*held), facecolors="none", edgecolors=COLOURS[1], s=46, zorder=3, label="held-out runs")
        if law.a.determined and a > 0:
            axes.axhline(a, color=COLOURS[5], linewidth=1, linestyle=":", label="floor a")
        axes.set(xscale="log", yscale="log", xlabel=cost_name, ylabel=error_name)
        _plain_numbers(axes)
        axes.legend(fontsize=8)
        return figure


def joint_figure(law: JointScalingLaw) -> Figure:
    """Measured runs and the law over the data size, a colour for each model size."""
    grid = np.geomspace(law.inputs.min(), law.inputs.max(), POINTS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained", dpi=150)
        axes = figure.subplots()
        sizes = np.unique(law.params)
        colours = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(sizes)))
        for size, colour in zip(sizes, colours):
            chosen = law.params == size
            axes.plot(grid, [law.error(size, inputs) for inputs in grid], color=colour, linewidth=1.4)
            axes.scatter(
                law.inputs[chosen], law.errors[chosen], color=[colour], s=22, label=f"{size:.3g} parameters", zorder=3
            )
        axes.set(xscale="log", yscale="log", xlabel="training inputs", ylabel="error")
        _plain_numbers(axes)
        axes.legend(fontsize=8)
        return figure


def _plain_numbers(axes: Axes) -> None:
    """Plain labels such as 0.3 on a logarithmic axis of errors, instead of powers of ten."""
    for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        which(FuncFormatter(lambda value, _: f"{value:g}"))
