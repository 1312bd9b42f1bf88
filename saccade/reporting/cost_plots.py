"""Plots of the cost of models."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from saccade.analysis.cost_by_size import CostBySize
from saccade.reporting.plots import COLOURS, STYLE


def cost_figure(cost: CostBySize) -> Figure:
    """Multiply-adds with the share of attention, activations and measured time, by image size or number of tokens."""
    texts = cost.own.height is None
    unit = "a text" if texts else "an image"
    sides = np.array([one.tokens if texts else (one.height * one.width) ** 0.5 for one in cost.sizes])  # type: ignore[operator]
    attention = np.array([one.attention_gmacs for one in cost.sizes])
    total = np.array([one.gmacs for one in cost.sizes])
    times = [one.milliseconds for one in cost.sizes]
    names = [
        f"{one.tokens}" if texts else f"{one.height}" if one.height == one.width else one.size for one in cost.sizes
    ]
    timed = all(value is not None for value in times)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6 if timed else 6.4, 3.0), layout="constrained", dpi=150)
        panels = figure.subplots(1, 3 if timed else 2)
        panels[0].stackplot(
            sides, total - attention, attention, colors=COLOURS[:2], alpha=0.75,
            labels=("linear in the tokens", "attention, quadratic"),
        )  # fmt: skip
        panels[0].set(ylabel=f"multiply-adds for {unit} (10⁹)", ylim=(0, None))
        panels[0].legend(fontsize=7, loc="upper left")
        panels[1].plot(sides, [one.activation_mb for one in cost.sizes], color=COLOURS[2], marker="o", markersize=3)
        panels[1].set(ylabel=f"activations in training (MB {unit})", ylim=(0, None))
        if timed:
            panels[2].plot(sides, times, color=COLOURS[3], marker="o", markersize=3)
            panels[2].set(ylabel=f"forward pass (ms {unit})", ylim=(0, None))
        for axes in panels:
            axes.set_xlabel("tokens" if texts else "image size (pixels)")
            axes.set_xticks(sides, names)
        return figure
