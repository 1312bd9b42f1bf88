"""Plots of a classifier's reliability: calibration, corruptions."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from saccade.analysis.calibration import Calibration
from saccade.analysis.robustness import Robustness
from saccade.reporting.plots import COLOURS, STYLE, draw_reliability


def calibration_figure(result: Calibration) -> Figure:
    """Accuracy over confidence, without and with the temperature."""
    titles = (f"as it is: ECE {result.error:.1%}",
              f"temperature {result.temperature:.2f}: ECE {result.error_after:.1%}")  # fmt: skip
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.8, 3.4), layout="constrained", dpi=150)
        for axes, bins, title in zip(figure.subplots(1, 2), (result.bins, result.bins_after), titles):
            draw_reliability(bins, axes)
            axes.set_title(title, fontsize=9)
        return figure


def robustness_figure(result: Robustness) -> Figure:
    """A panel for each corruption: the error by severity; 0 is the original images."""
    models = [result] if result.reference is None else [result, result.reference]
    columns = min(4, len(result.corruptions))
    rows = -(-len(result.corruptions) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * columns + 0.4, 1.9 * rows + 0.3), layout="constrained", dpi=150)
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for number, panel in enumerate(axes.flat):
            if number >= len(result.corruptions):
                panel.axis("off")
                continue
            for colour, model in zip(COLOURS, models):
                errors = np.concatenate(([model.clean], model.errors[number]))
                panel.plot(np.arange(6), errors, color=colour, marker="o", markersize=3, label=model.model)
            panel.set_title(result.corruptions[number].replace("_", " "), fontsize=9)
            panel.set(ylim=(0, 1.03), xticks=range(6))
            panel.yaxis.set_major_formatter(PercentFormatter(1))
        axes[0, 0].set_ylabel("error")
        axes[-1, 0].set_xlabel("severity")
        axes[0, 0].legend(fontsize=7)
        return figure
