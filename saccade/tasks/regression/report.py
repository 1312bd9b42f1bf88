"""Report of regression: predictions over true values, residuals, the images with the largest errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from saccade.analysis.attention_maps import explain
from saccade.data.images import rgb_pixels
from saccade.data.samples import DataSplits
from saccade.engine.predictor import ImageLike, Predictor
from saccade.engine.report import Drawing, ReportSection, TaskReport
from saccade.reporting.draw import enlarge, explain_figure
from saccade.reporting.plots import COLOURS, INK, STYLE, to_svg
from saccade.reporting.report import picture, template
from saccade.tasks.regression.metrics import RegressionMetrics
from saccade.tasks.regression.sources import ValueSource

MAX_POINTS = 1000  # of the scatter plot, so that the page stays small
MAX_BINS = 30
WORST = 12  # images


@dataclass(frozen=True)
class ValueExample:
    """A held-out image ``[H, W, 3]`` uint8 with its prediction and its true value."""

    name: str
    image: np.ndarray
    pred: float
    target: float


class RegressionReport(TaskReport):
    """Scatter plot, residuals, largest errors."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = RegressionMetrics.from_dict(predictions["metrics"])
        source = cast(ValueSource, splits.test if predictions["split"] == "test" else splits.val)
        rows = predictions["predictions"]
        html = regression_section(
            metrics, rows, predictor.labels[0], worst_examples(source, rows, predictor.preprocess.channels)
        )
        return ReportSection(metrics, regression_tiles(metrics), html)

    def explain(
        self, predictor: Predictor, inputs: Sequence[ImageLike], *, budget: str, score: bool = False
    ) -> Drawing:
        """The rollout of all layers and each head of the last, over the image, with the predicted value."""
        explanations, lines = [], []
        for image in inputs:
            result = predictor.predict(image)
            text = f"{result.label} {result.value:.4g}"
            explanations.append(replace(explain(predictor, image, budget=budget), label=text, score=None))
            lines.append(f"{result.name}: {text}")
        return Drawing(explain_figure(explanations), lines)


REPORT = RegressionReport()


def worst_examples(source: ValueSource, rows: Sequence[Mapping[str, Any]], channels: int = 3) -> Sequence[ValueExample]:
    """The images with the largest absolute errors, the largest first."""
    index = {name: number for number, name in enumerate(source.names)}
    examples = []
    for row in sorted(rows, key=lambda row: -abs(row["value"] - row["truth"]))[:WORST]:
        image = source.image(index[row["image"]], channels)
        examples.append(ValueExample(row["image"], rgb_pixels(image), row["value"], row["truth"]))
    return examples


def regression_tiles(metrics: RegressionMetrics) -> Mapping[str, str]:
    """The metrics on top."""
    return {
        "R²": "undefined" if metrics.r2 is None else f"{metrics.r2:.3f}",
        "mean absolute error": f"{metrics.mae:.4g}",
        "RMSE": f"{metrics.rmse:.4g}",
        "Spearman correlation": "undefined" if metrics.spearman is None else f"{metrics.spearman:.3f}",
    }


def regression_section(
    metrics: RegressionMetrics, rows: Sequence[Mapping[str, Any]], label: str, worst: Sequence[ValueExample]
) -> Markup:
    """The results.

    Args:
        metrics: of the split.
        rows: of `predictions.json`.
        label: the name of the value.
        worst: examples with the largest errors.
    """
    pred, target = (np.array([row[key] for row in rows]) for key in ("value", "truth"))
    shown = np.arange(len(rows))[:: max(1, -(-len(rows) // MAX_POINTS))]
    bias = float(np.mean(pred - target))
    sentence = (
        f"Predictions are {abs(bias):.3g} too {'high' if bias > 0 else 'low'} on average; on half of the images the "
        f"error is at most {float(np.median(np.abs(pred - target))):.3g}."
    )
    cards = [
        {
            "name": e.name, "picture": picture(enlarge(e.image)), "pred": f"{e.pred:.4g}", "target": f"{e.target:.4g}",
        }
        for e in worst
    ]  # fmt: skip
    html = template("saccade.tasks.regression", "report").render(
        sentence=sentence, shown=len(shown), total=len(rows), cards=cards,
        scatter=Markup(scatter_plot(pred[shown], target[shown], label)),
        histogram=Markup(residual_histogram(pred - target, label)),
    )  # fmt: skip
    return Markup(html)


def scatter_plot(pred: np.ndarray, target: np.ndarray, label: str) -> str:
    """Predictions over true values ``[N]`` as SVG; on the identity line they are equal."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.8, 3.6), layout="constrained")
        axes = figure.subplots()
        ends = [min(pred.min(), target.min()), max(pred.max(), target.max())]
        axes.plot(ends, ends, color=INK, alpha=0.4, linewidth=1)
        axes.scatter(target, pred, s=10, color=COLOURS[0], alpha=0.6, linewidths=0)
        axes.set(xlabel=f"true {escaped(label)}", ylabel=f"predicted {escaped(label)}", aspect="equal")
        return to_svg(figure)


def residual_histogram(residuals: np.ndarray, label: str) -> str:
    """Histogram of the errors ``[N]``, as SVG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.8, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.hist(residuals, bins=min(MAX_BINS, max(5, round(len(residuals) ** 0.5))), color=COLOURS[0], alpha=0.8)
        axes.axvline(0, color=INK, alpha=0.4, linewidth=1)
        axes.set(xlabel=f"predicted - true {escaped(label)}", ylabel="images")
        return to_svg(figure)


def escaped(text: str) -> str:
    """Text for a plot, where a dollar sign would start a formula."""
    return text.replace("$", r"\$")
