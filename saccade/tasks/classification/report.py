"""Report of a classifier: confusion, calibration, classes, mistakes and attention maps."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from markupsafe import Markup

from saccade.analysis.attention_maps import Explanation, explain
from saccade.analysis.faithfulness import Faithfulness, MapScores, faithfulness
from saccade.analysis.inputs import split_images, without_probability
from saccade.analysis.map_score import score_map
from saccade.data.samples import DataSplits, ImageSource
from saccade.engine.predictor import ImageLike, Predictor
from saccade.engine.report import BUDGET, Drawing, ReportSection, TaskReport
from saccade.errors import RecordingError
from saccade.models.cost import measure_cost
from saccade.reporting.attention_plots import score_lines
from saccade.reporting.class_table import Column, class_table
from saccade.reporting.confusion import LARGEST_CONFUSION, confusion_rows
from saccade.reporting.draw import enlarge, explain_figure, overlay
from saccade.reporting.plots import reliability
from saccade.reporting.report import picture, template
from saccade.tasks.classification.metrics import ClassificationMetrics

WELL_CALIBRATED = 0.03  # largest calibration error that is called good
MISTAKES, EXAMPLES = 12, 4
SCORED, LEAST_SCORED, SCORE_GMACS = 16, 3, 2000  # images, at most and at least, and 10⁹ multiply-adds, for map_scores
STEPS = 10  # of its curves
log = logging.getLogger("saccade")


@dataclass(frozen=True)
class Mistake:
    """An image with a confident wrong prediction."""

    truth: str
    explanation: Explanation


class ClassificationReport(TaskReport):
    """Confusion, mistakes, attention."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = ClassificationMetrics.from_dict(predictions["metrics"])
        source = cast(ImageSource, splits.test if predictions["split"] == "test" else splits.val)
        mistakes, examples = explained(predictor, source, predictions["predictions"])
        believed = map_scores(predictor, source) if mistakes or examples else None
        html = classification_section(metrics, predictor.labels, mistakes, examples, believed)
        return ReportSection(metrics, classification_tiles(metrics), html)

    def explain(
        self, predictor: Predictor, inputs: Sequence[ImageLike], *, budget: str, score: bool = False
    ) -> Drawing:
        """The rollout of all layers, with its score, and each head of the last, over the image."""
        explanations = [explain(predictor, image, budget=budget) for image in inputs]
        lines = [f"{e.name}: {e.label}" + ("" if e.score is None else f" {e.score:.1%}") for e in explanations]
        if not score or without_probability(predictor):
            return Drawing(explain_figure(explanations), lines)
        scores = [
            score_map(predictor, predictor.prepare(image)[None], torch.from_numpy(one.rollout))
            for image, one in zip(inputs, explanations)
        ]
        lines = [part for line, one in zip(lines, scores) for part in (line, f"  rollout: {one}")]
        return Drawing(explain_figure(explanations, [score_lines(one) for one in scores]), lines)


REPORT = ClassificationReport()


def explained(
    predictor: Predictor, source: ImageSource, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[Mistake], list[Explanation]]:
    """The most confident mistakes, and correct predictions of as many different classes, with their attention."""
    index = {name: number for number, name in enumerate(source.names)}
    wrong = sorted((row for row in rows if row["label"] != row["truth"]), key=lambda row: -row["score"])[:MISTAKES]
    right = list({row["label"]: row for row in rows if row["label"] == row["truth"]}.values())[:EXAMPLES]

    def look(row: Mapping[str, Any]) -> Explanation:
        return replace(
            explain(predictor, source.image(index[row["image"]], predictor.preprocess.channels), budget=BUDGET),
            name=row["image"],
        )

    try:
        return [Mistake(row["truth"], look(row)) for row in wrong], [look(row) for row in right]
    except RecordingError as error:
        log.warning("the report shows no attention: %s", error)
        return [], []


def map_scores(predictor: Predictor, source: ImageSource) -> Faithfulness:
    """Reliability of the rollout, compared with a random map and a blob; expensive models are measured on fewer
    images."""
    passes = 3 * (3 * STEPS + 3)  # of three maps: two curves and the groups of SaCo
    count = round(SCORE_GMACS / (passes * max(measure_cost(predictor.model).gmacs, 1e-6)))
    images = split_images(predictor, source, limit=min(max(count, LEAST_SCORED), SCORED))
    return faithfulness(predictor, images, ["rollout"], steps=STEPS)


def classification_tiles(metrics: ClassificationMetrics) -> Mapping[str, str]:
    """The metrics on top."""
    top5 = {} if metrics.top5 is None else {"top-5": f"{100 * metrics.top5:.2f} %"}
    return {
        "accuracy": f"{100 * metrics.accuracy:.2f} %",
        **top5,
        "negative log likelihood (nats)": f"{metrics.nll:.3f}",
        "calibration error": f"{100 * metrics.calibration_error:.1f} %",
    }


def classification_section(
    metrics: ClassificationMetrics,
    labels: Sequence[str],
    mistakes: Sequence[Mistake],
    examples: Sequence[Explanation],
    believed: Faithfulness | None = None,
) -> Markup:
    """The results.

    Args:
        metrics: metrics of the split.
        labels: class names.
        mistakes: the most confident first.
        examples: some correct predictions, for comparison with the mistakes.
        believed: scores of the maps.
    """
    small = len(labels) <= LARGEST_CONFUSION
    return Markup(
        template("saccade.tasks.classification", "report").render(
            labels=labels,
            reliability=Markup(reliability(metrics.reliability)),
            calibration=calibration(metrics),
            confusion=confusion_rows(metrics.confusion) if small else [],
            confusions=common_confusions(metrics.confusion, labels),
            classes=classes_table(metrics) if metrics.per_class else "",
            mistakes=[card(m.explanation, m.truth) for m in mistakes],
            examples=[card(e, "") for e in examples],
            scores=[] if believed is None else [score_row(one) for one in believed.methods],
            scored=0 if believed is None else believed.images,
        )
    )


def classes_table(metrics: ClassificationMetrics) -> Markup:
    """Metrics of each class, lowest F1 first."""
    rows = metrics.per_class

    def percent(name: str, values: Sequence[float]) -> Column:
        return Column(name, values, [f"{100 * value:.1f} %" for value in values])

    images = Column("images", [r.support for r in rows], [f"{r.support:,}" for r in rows], descending=True)
    columns = [
        percent("F1", [r.f1 for r in rows]), percent("precision", [r.precision for r in rows]),
        percent("recall", [r.recall for r in rows]), images,
    ]  # fmt: skip
    return class_table("class", [row.label for row in rows], columns)


def calibration(metrics: ClassificationMetrics) -> str:
    """A sentence about the reliability diagram, from the calibration error and its direction."""
    error = metrics.calibration_error
    measured = sum(count for *_, count in metrics.reliability)
    confidence = sum(c * count for c, _, count in metrics.reliability) / max(measured, 1)
    text = f"Expected calibration error {error:.1%}"
    if error < WELL_CALIBRATED:
        return f"{text}: confidence and accuracy agree. On the diagonal they are equal."
    direction = "above" if confidence > metrics.accuracy else "below"
    adjective = "overconfident" if confidence > metrics.accuracy else "underconfident"
    return (
        f"{text}. The mean confidence of {confidence:.1%} is {direction} the accuracy of {metrics.accuracy:.1%}: the "
        f"model is {adjective}. On the diagonal confidence and accuracy are equal."
    )


def common_confusions(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], most: int = 12
) -> list[tuple[str, str, int]]:
    """(true class, predicted class, number of images), the most frequent first."""
    pairs = [(labels[i], labels[j], n) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]


def score_row(one: MapScores) -> dict[str, Any]:
    """A map's name, and its three scores with their intervals."""
    scores = (one.deletion, one.insertion, one.saco)
    return {"name": one.method, "scores": [(f"{x.value:.2f}", f"{x.low:.2f} to {x.high:.2f}") for x in scores]}


def card(explanation: Explanation, truth: str) -> dict[str, str]:
    """An image with its attention map and prediction."""
    return {
        "name": explanation.name,
        "label": explanation.label,
        "score": "" if explanation.score is None else f"{explanation.score:.0%}",
        "truth": truth,
        "image": picture(enlarge(explanation.image)),
        "attention": picture(overlay(explanation.image, explanation.rollout)),
    }
