"""Plots of what attention does."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saccade.analysis.attention_distance import AttentionDistance
from saccade.reporting.plots import COLOURS, STYLE


def distance_figure(distance: AttentionDistance) -> Figure:
    """How far each head looks, by layer: a dot a head, its bar the standard deviation over the images."""
    pixels, spread = distance.pixels, distance.spread
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(4.6, 0.45 * len(pixels) + 1.5), 3.2), layout="constrained", dpi=150)
        axes = figure.subplots()
        draw_distances(axes, pixels, spread if len(distance.per_image) > 1 else None)
        return figure


def draw_distances(axes: Axes, pixels: np.ndarray, spread: np.ndarray | None = None) -> None:
    """``[layers, heads]`` pixels, with their standard deviations; NaN is not drawn, nor is it in a mean."""
    layers, heads = pixels.shape
    number = np.arange(1, layers + 1)
    offsets = np.linspace(-0.28, 0.28, heads) if heads > 1 and spread is not None else np.zeros(heads)
    for head in range(heads):
        place = number + offsets[head]
        if spread is not None:
            style = {"fmt": "none", "ecolor": COLOURS[0], "alpha": 0.45, "elinewidth": 1}
            axes.errorbar(place, pixels[:, head], yerr=np.minimum(spread[:, head], pixels[:, head]), **style)
        axes.scatter(place, pixels[:, head], s=16, color=COLOURS[0], alpha=0.75, label="head" if head == 0 else None)
    means = np.ma.masked_invalid(pixels).mean(axis=1)
    axes.plot(number, means, color=COLOURS[1], linewidth=1.4, label="mean of the heads")
    top = 1.2 * max(np.nanmax(pixels, initial=0.0), 1.0)  # room for the legend
    axes.set(xlabel="layer", ylabel="mean attention distance (pixels)", ylim=(0, top))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
