"""The report of a comparison of two classifiers: one HTML file without network requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from saccade.analysis.comparison import BETTER, Comparison, Disagreement
from saccade.analysis.image_maps import ImageMap
from saccade.analysis.perturbations import Perturbation
from saccade.analysis.robustness import Robustness
from saccade.reporting.better import ComparedRow, compared_row, cost_rows
from saccade.reporting.draw import enlarge, overlay
from saccade.reporting.perturbation_plots import perturbation_figure
from saccade.reporting.plots import COLOURS, STYLE, to_svg
from saccade.reporting.reliability_plots import robustness_figure
from saccade.reporting.report import Report, picture, render_report, template


@dataclass(frozen=True)
class ShownDisagreement:
    """A disagreement with its image and the attention map of each model; None if a model has no map."""

    row: Disagreement
    image: np.ndarray
    maps: tuple[ImageMap | None, ImageMap | None]


def comparison_page(
    comparison: Comparison,
    disagreements: Sequence[ShownDisagreement] = (),
    *,
    shift: Perturbation | None = None,
    robustness: Robustness | None = None,
    environment: Mapping[str, Any] | None = None,
    command: str = "",
) -> str:
    """The page as text; parts that are None are left out."""
    first, second = comparison.models
    d = comparison.difference
    section = template("saccade.reporting", "comparison").render(
        comparison=comparison,
        rows=[*quality_rows(comparison), *cost_rows(comparison.models)],
        plot=Markup(to_svg(accuracy_cost_figure(comparison))),
        shift="" if shift is None else Markup(to_svg(perturbation_figure(shift))),
        robustness="" if robustness is None else Markup(to_svg(robustness_figure(robustness))),
        relative="" if robustness is None else robustness_sentence(robustness),
        disagreements=[card(one) for one in disagreements],
    )
    tiles = {
        f"accuracy of {first.name}": f"{first.accuracy.value:.2%}",
        f"accuracy of {second.name}": f"{second.accuracy.value:.2%}",
        "difference (points)": f"{100 * d.value:+.2f}",
        "p (McNemar)": f"{comparison.p_value:.3g}",
        "images": f"{comparison.images:,}",
    }
    return render_report(
        Report(
            title=f"{first.name} and {second.name}", note=comparison.note, tiles=tiles, sections=[Markup(section)],
            environment=environment or {}, command=command,
        )
    )  # fmt: skip


def quality_rows(comparison: Comparison) -> list[ComparedRow]:
    """Accuracy with its interval, negative log likelihood, calibration error."""
    models = comparison.models
    cells = {
        "accuracy": ("accuracy", [f"{m.accuracy.value:.2%}" for m in models]),
        "negative log likelihood": ("nll", [f"{m.nll:.3f}" for m in models]),
        "calibration error": ("calibration_error", [f"{m.calibration_error:.2%}" for m in models]),
    }
    intervals = {"accuracy": [f"{m.accuracy.low:.1%} to {m.accuracy.high:.1%}" for m in models]}
    return [
        compared_row(title, texts, comparison.best(name), BETTER[name], intervals.get(name, ("", "")))
        for title, (name, texts) in cells.items()
    ]


def accuracy_cost_figure(comparison: Comparison) -> Figure:
    """Accuracy with its interval, plotted over multiply-adds and over the measured time."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        for axes, key, label in zip(
            figure.subplots(1, 2, sharey=True), ("gmacs", "milliseconds"),
            ("multiply-adds per image (10⁹)", "forward pass (ms per image)"),
        ):  # fmt: skip
            for colour, model in zip(COLOURS, comparison.models):
                a = model.accuracy
                reach = [[a.value - a.low], [a.high - a.value]]
                axes.errorbar([getattr(model, key)], [a.value], yerr=reach, fmt="o", color=colour, label=model.name)
            axes.set_xlabel(label)
            axes.set_xlim(0, 1.25 * max(getattr(model, key) for model in comparison.models))
            axes.set_ylabel("accuracy" if key == "gmacs" else "")
            axes.legend(fontsize=8)
        return figure


def robustness_sentence(robustness: Robustness) -> str:
    """The errors of both models on corrupted images, as a sentence."""
    errors = f"{robustness.mean_error:.1%} on corrupted images, {robustness.clean:.1%} on clean ones"
    text = f"{robustness.model}: error {errors}."
    other, relative = robustness.reference, robustness.corruption_error
    if other is None or relative is None:
        return text
    return (
        f"{text} {other.model}: {other.mean_error:.1%} and {other.clean:.1%}. Mean corruption error relative to it: "
        f"{np.nanmean(relative):.2f}."
    )


def card(shown: ShownDisagreement) -> dict[str, object]:
    """Values of a disagreement for the template."""
    overlays = [None if m is None else picture(overlay(m.image, np.maximum(m.values, 0))) for m in shown.maps]
    return {
        "name": shown.row.name,
        "truth": shown.row.truth,
        "image": picture(enlarge(shown.image)),
        "models": [
            {"label": label, "score": f"{score:.0%}", "right": label == shown.row.truth, "map": overlay_}
            for label, score, overlay_ in zip(shown.row.labels, shown.row.scores, overlays)
        ],
    }
