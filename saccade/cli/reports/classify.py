"""The part of a report that belongs to a classifier."""

import logging
from typing import Any, cast

from saccade.analysis.attention_maps import Explanation, explain
from saccade.cli.reports.content import BUDGET, Content
from saccade.data.samples import DataSplits, ImageSource
from saccade.errors import RecordingError
from saccade.inference.predictor import Predictor
from saccade.reporting.classification import Mistake, classification_section, classification_tiles
from saccade.tasks.predictions import ClassificationMetrics

MISTAKES, EXAMPLES = 12, 4
log = logging.getLogger("saccade")


def content(predictor: Predictor, splits: DataSplits, told: dict[str, Any]) -> Content:
    """Figures, confusion, mistakes, from the `predictions.json` of a run."""
    metrics = ClassificationMetrics.from_dict(told["metrics"])
    source = cast(ImageSource, splits.test if told["split"] == "test" else splits.val)
    mistakes, examples = _pictures(predictor, source, told["predictions"])
    section = classification_section(metrics, predictor.labels, mistakes, examples)
    return Content(metrics, classification_tiles(metrics), section)


def _pictures(
    predictor: Predictor, source: ImageSource, predictions: list[dict]
) -> tuple[list[Mistake], list[Explanation]]:
    """The most confident mistakes, and right answers of as many different classes."""
    place = {name: index for index, name in enumerate(source.names)}
    wrong = sorted((p for p in predictions if p["label"] != p["truth"]), key=lambda p: -p["score"])[:MISTAKES]
    right = list({p["label"]: p for p in predictions if p["label"] == p["truth"]}.values())[:EXAMPLES]

    def look(prediction: dict) -> Explanation:
        picture = source.image(place[prediction["image"]])
        found = explain(predictor, picture, budget=BUDGET)
        return Explanation(**{**vars(found), "name": prediction["image"]})

    try:
        return [Mistake(p["truth"], look(p)) for p in wrong], [look(p) for p in right]
    except RecordingError as error:
        log.warning("the report shows no attention: %s", error)
        return [], []
