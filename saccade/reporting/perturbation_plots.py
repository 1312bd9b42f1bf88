"""Plots of perturbations and receptive fields."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from saccade.analysis.perturbations import LABELS, Perturbation
from saccade.analysis.receptive_field import ReceptiveField
from saccade.reporting.plots import COLOURS, STYLE

MAX_LAYERS = 12  # drawn; of deeper models evenly spaced ones


def perturbation_figure(result: Perturbation) -> Figure:
    """The change of the output, and accuracy or agreement, by level; a colour for each model."""
    classes = any(curve.agreement is not None for curve in result.curves)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6 if classes else 4.2, 3.1), layout="constrained", dpi=150)
        panels = figure.subplots(1, 2 if classes else 1, squeeze=False)[0]
        for colour, curve in zip(COLOURS, result.curves):
            low, high = np.maximum(curve.change - curve.change_std, 0), curve.change + curve.change_std
            panels[0].fill_between(curve.levels, low, high, color=colour, alpha=0.15)
            panels[0].plot(curve.levels, curve.change, color=colour, marker="o", markersize=3, label=curve.model)
            if not classes:
                continue
            if curve.accuracy is not None:
                value, low, high = curve.accuracy.T
                panels[1].fill_between(curve.levels, low, high, color=colour, alpha=0.15)
                panels[1].plot(curve.levels, value, color=colour, marker="o", markersize=3, label="accuracy")
            if curve.agreement is not None:
                panels[1].plot(curve.levels, curve.agreement, color=colour, linestyle=":", label="same class")
        panels[0].set(ylabel="relative change of the output", ylim=(0, None))
        panels[0].legend(fontsize=7)
        if classes:
            panels[1].set(ylabel="share of the images", ylim=(0, 1.03))
            panels[1].yaxis.set_major_formatter(PercentFormatter(1))
            handles, labels = panels[1].get_legend_handles_labels()
            first = dict(reversed(list(zip(labels, handles))))
            panels[1].legend(first.values(), first.keys(), fontsize=7)
        for axes in panels:
            axes.set_xlabel(LABELS[result.kind])
        return figure


def field_figure(fields: Sequence[ReceptiveField]) -> Figure:
    """One row per model: the receptive field of every layer, with brightness by the square root of the gradient and the
    radius below."""
    chosen = [np.linspace(0, len(f.layers) - 1, min(len(f.layers), MAX_LAYERS)).round().astype(int) for f in fields]
    columns = max(len(layers) for layers in chosen)
    figure = Figure(figsize=(max(1.35 * columns, 3.0), 1.85 * len(fields) + 0.2), layout="constrained", dpi=150)
    axes = figure.subplots(len(fields), columns, squeeze=False)
    for panel in axes.flat:
        panel.axis("off")
    for row, field, layers in zip(axes, fields, chosen):
        for panel, layer in zip(row, layers):
            level = np.sqrt(field.fields[layer] / max(field.fields[layer].max(), 1e-30))
            panel.imshow(level, cmap="inferno", vmin=0, vmax=1)
            title = f"layer {layer}\n{field.radius[layer]:.0f} px"
            panel.set_title(f"{field.model}, {title}" if layer == layers[0] else title, fontsize=7)
    return figure
