"""Plots of the reliability of maps."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saccade.analysis.faithfulness import Faithfulness
from saccade.analysis.sanity import SanityCheck
from saccade.reporting.plots import COLOURS, INK, STYLE, figure_of, new_axes


def faithfulness_figure(result: Faithfulness) -> Figure:
    """Deletion and insertion curves of every method, and SaCo with its interval; baselines in grey."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 3.3), layout="constrained", dpi=150)
        panels = figure.subplots(1, 3)
        for number, one in enumerate(result.methods):
            baseline = one.method in ("random", "blob")
            colour = INK if baseline else COLOURS[number % len(COLOURS)]
            style = {"color": colour, "alpha": 0.5 if baseline else 1, "label": one.method,
                     "linestyle": {"random": ":", "blob": "--"}.get(one.method, "-")}  # fmt: skip
            panels[0].plot(np.linspace(0, 1, len(one.deletion_curve)), one.deletion_curve, **style)
            panels[1].plot(np.linspace(0, 1, len(one.insertion_curve)), one.insertion_curve, **style)
            reach = [[one.saco.value - one.saco.low], [one.saco.high - one.saco.value]]
            panels[2].errorbar([one.saco.value], [number], xerr=reach, fmt="o", color=colour, markersize=4)
        panels[0].set(xlabel="fraction hidden", ylabel="probability of the class", ylim=(0, 1.03))
        panels[0].set_title("deletion: lower is better", fontsize=9)
        panels[1].set(xlabel="fraction shown", ylim=(0, 1.03))
        panels[1].set_title("insertion: higher is better", fontsize=9)
        panels[0].legend(fontsize=7)
        panels[2].axvline(0, color=INK, alpha=0.4, linewidth=1)
        panels[2].set_yticks(range(len(result.methods)), [one.method for one in result.methods], fontsize=8)
        panels[2].invert_yaxis()
        panels[2].set_xlabel("SaCo, 95 % interval")
        panels[2].set_title("SaCo: higher is better", fontsize=9)
        return figure


def sanity_figure(result: SanityCheck) -> Figure:
    """Rank correlation with the trained model's map, by the number of randomised layers."""
    with mpl.rc_context(STYLE):
        return figure_of(draw_sanity(result))


def draw_sanity(result: SanityCheck, ax: Axes | None = None) -> Axes:
    """Draw the plot of :func:`sanity_figure`, on new axes by default."""
    stages = np.arange(len(result.stages))
    axes = new_axes(max(4.6, 0.42 * len(stages) + 1.6), 3.6) if ax is None else ax
    for colour, method, values in zip(COLOURS, result.methods, result.correlation):
        axes.plot(stages, values, color=colour, marker="o", markersize=3, label=method)
    axes.axhline(0, color=INK, alpha=0.4, linewidth=1)
    axes.set(ylabel="rank correlation with the trained map", xlabel="randomised", ylim=(-1.05, 1.05))
    axes.set_xticks(stages, result.stages, rotation=60, ha="right", fontsize=7)
    axes.legend(fontsize=8)
    return axes
