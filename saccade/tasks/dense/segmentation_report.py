"""Report of segmentation: the classes, and the worst images with their ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from markupsafe import Markup

from saccade.data.images import rgb_pixels
from saccade.data.samples import DataSplits
from saccade.engine.predictor import Predictor
from saccade.engine.report import ReportSection, TaskReport
from saccade.reporting.class_table import Column, class_table
from saccade.reporting.draw import class_colour, enlarge
from saccade.reporting.report import picture, template
from saccade.tasks.dense.drawing import blend, class_colours
from saccade.tasks.dense.segmentation_metrics import SegmentationMetrics
from saccade.tasks.dense.sources import IGNORE, DenseSource

WORST = 9  # images that are shown
EXAMINED = 60  # images among which they are looked for


@dataclass(frozen=True)
class SegmentationExample:
    """A held-out image ``[H, W, 3]`` uint8 with its predicted and its true classes ``[H, W]``, and the fraction of the
    labelled pixels that are correct."""

    name: str
    image: np.ndarray
    pred: np.ndarray
    target: np.ndarray
    accuracy: float


class SegmentationReport(TaskReport):
    """Classes and the worst images."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = SegmentationMetrics.from_dict(predictions["metrics"])
        source = cast(DenseSource, splits.test if predictions["split"] == "test" else splits.val)
        html = segmentation_section(metrics, predictor.labels, worst_examples(predictor, source))
        return ReportSection(metrics, segmentation_tiles(metrics), html)


REPORT = SegmentationReport()


def worst_examples(predictor: Predictor, source: DenseSource) -> Sequence[SegmentationExample]:
    """Of some images spread over the split those with the lowest pixel accuracy, the worst first."""
    examples = []
    for index in range(0, len(source), max(1, len(source) // EXAMINED)):
        image, target = source.with_map(index, predictor.preprocess.channels)
        pred = predictor.predict(image).classes
        labelled = target != IGNORE
        if labelled.any():
            accuracy = float((pred == target)[labelled].mean())
            pixels = rgb_pixels(image)
            examples.append(SegmentationExample(source.names[index], pixels, pred, target, accuracy))
    return sorted(examples, key=lambda example: example.accuracy)[:WORST]


def segmentation_tiles(metrics: SegmentationMetrics) -> Mapping[str, str]:
    """The metrics on top."""
    return {"mIoU": f"{metrics.miou:.3f}", "pixel accuracy": f"{100 * metrics.accuracy:.2f} %"}


def segmentation_section(
    metrics: SegmentationMetrics, labels: Sequence[str], worst: Sequence[SegmentationExample]
) -> Markup:
    """The table of classes; image, predicted classes and true classes of each example."""
    cards = []
    for example in worst:
        maps = (class_colours(classes, len(labels)) for classes in (example.pred, example.target))
        parts = [example.image, *(blend(example.image, colours) for colours in maps)]
        text = f"{example.accuracy:.1%} of the pixels correct"
        cards.append({"name": example.name, "text": text, "pictures": [picture(enlarge(part)) for part in parts]})
    legend = [
        {"name": n, "colour": "#{:02x}{:02x}{:02x}".format(*class_colour(i, len(labels)))} for i, n in enumerate(labels)
    ]
    rows = [row for row in metrics.per_class if row.iou >= 0]
    recalls = [row.recall if row.recall >= 0 else None for row in rows]
    columns = [
        Column("IoU", [row.iou for row in rows], [f"{row.iou:.3f}" for row in rows]),
        Column("recall", recalls, ["–" if value is None else f"{value:.3f}" for value in recalls]),
        Column("pixels", [row.pixels for row in rows], [f"{row.pixels:,}" for row in rows], descending=True),
    ]
    classes = class_table("class", [row.label for row in rows], columns)
    html = template("saccade.tasks.dense", "segmentation_report").render(cards=cards, classes=classes, legend=legend)
    return Markup(html)
