"""The part of a report that belongs to masked pre-training."""

from typing import Any, cast

from saccade.analysis.painting import paint
from saccade.cli.reports.content import Content
from saccade.data.samples import DataSplits, ImageSource
from saccade.inference.predictor import Predictor
from saccade.reporting.masked import masked_section
from saccade.tasks.predictions import MaskedMetrics

PAINTINGS = 9


def content(predictor: Predictor, splits: DataSplits, told: dict[str, Any]) -> Content:
    """The loss, and held-out images painted again."""
    metrics = MaskedMetrics(**told["metrics"])
    source = cast(ImageSource, splits.test if told["split"] == "test" else splits.val)
    chosen = range(0, len(source), max(1, len(source) // PAINTINGS))[:PAINTINGS]
    paintings = paint(predictor, [source.image(i) for i in chosen], [source.names[i] for i in chosen])
    return Content(metrics, {"loss on hidden patches": f"{metrics.loss:.4f}"}, masked_section(paintings))
