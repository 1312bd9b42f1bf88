"""Report of a detector: AP by class, precision over recall, confusion, the images with most errors, and the object
queries of a DETR."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from saccade.data.images import rgb_pixels
from saccade.data.samples import DataSplits, ImageSource
from saccade.engine.predictor import ImageLike, Predictor
from saccade.engine.report import Drawing, ReportSection, TaskReport
from saccade.models.detr import DETR
from saccade.reporting.class_table import Column, class_table
from saccade.reporting.confusion import LARGEST_CONFUSION, confusion_rows
from saccade.reporting.draw import enlarge, overlay
from saccade.reporting.plots import COLOURS, STYLE, to_svg
from saccade.reporting.points import image_grid
from saccade.reporting.report import picture, template
from saccade.tasks.detection.metrics import (
    DetectionMetrics,
    confusion_matrix,
    count_errors,
    format_figure,
    without_crowds,
)
from saccade.tasks.detection.queries import ObjectQueries, object_queries, query_boxes
from saccade.tasks.detection.results import Box, draw_detection
from saccade.tasks.detection.stages import SuppressionStudy, suppression_study

CURVES = 12  # classes whose precision-recall curves are drawn
WORST_IMAGES = 12
QUERY_IMAGES = 300  # images whose predictions of every query are drawn
MAX_QUERIES = 20  # queries that are drawn


@dataclass(frozen=True)
class Errors:
    """A held-out image ``[H, W, 3]`` uint8 with predicted and target boxes, and its false negatives and positives."""

    name: str
    image: np.ndarray
    pred: tuple[Box, ...]
    target: tuple[Box, ...]
    false_negatives: int
    false_positives: int


class DetectionReport(TaskReport):
    """AP, confusion, errors, object queries."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = DetectionMetrics.from_dict(predictions["metrics"])
        source = cast(ImageSource, splits.test if predictions["split"] == "test" else splits.val)
        index = {name: number for number, name in enumerate(source.names)}
        rows, images, channels = [], [], predictor.preprocess.channels
        for row in predictions["predictions"]:
            objects = [(Box(b["label"], 1.0, tuple(b["box"])), b.get("crowd", False)) for b in row["truth"]]
            target = tuple(box for box, crowd in objects if not crowd)
            pred = tuple(Box(b["label"], b["score"], tuple(b["box"])) for b in row["boxes"])
            pred = without_crowds(pred, target, [box for box, crowd in objects if crowd])
            rows.append((*count_errors(pred, target), row["image"], pred, target))
            images.append((pred, target))
        rows.sort(key=lambda row: -(row[0] + row[1]))
        worst = [
            Errors(name, rgb_pixels(source.image(index[name], channels)), pred, target, missed, wrong)
            for missed, wrong, name, pred, target in rows[:WORST_IMAGES]
        ]
        boxes = None
        if isinstance(predictor.model, DETR):
            boxes = query_boxes(predictor, (source.image(i, channels) for i in range(min(len(source), QUERY_IMAGES))))
        confusion = confusion_matrix(images, predictor.labels)
        html = detection_section(metrics, predictor.labels, worst, confusion, boxes)
        return ReportSection(metrics, detection_tiles(metrics), html)

    def explain(
        self, predictor: Predictor, inputs: Sequence[ImageLike], *, budget: str, score: bool = False
    ) -> Drawing:
        """The predicted objects, and for each the cross-attention of its query in the last decoder layer."""
        images = [object_queries(predictor, image, budget=budget) for image in inputs]
        return Drawing(queries_figure(images), [str(one) for one in images])

    def stages(
        self,
        predictor: Predictor,
        data: str,
        *,
        split: str,
        batch_size: int,
        workers: int | None,
        on_inputs: Callable[[int, int], None] | None,
    ) -> SuppressionStudy:
        return suppression_study(
            predictor, data, split=split, batch_size=batch_size, workers=workers, on_inputs=on_inputs
        )


REPORT = DetectionReport()


def detection_tiles(metrics: DetectionMetrics) -> Mapping[str, str]:
    """The metrics on top."""
    values = {"AP": metrics.ap, "AP50": metrics.ap50, "AP75": metrics.ap75, **metrics.ap_by_size}
    return {name: format_figure(value) for name, value in {**values, "recall": metrics.recall}.items()}


def detection_section(
    metrics: DetectionMetrics,
    labels: tuple[str, ...],
    worst: Sequence[Errors],
    confusion: Sequence[Sequence[int]],
    queries: np.ndarray | None = None,
) -> Markup:
    """The results.

    Args:
        metrics: of the split.
        labels: K class names.
        worst: the images with most errors first.
        confusion: ``[K + 1][K + 1]`` boxes, true class by predicted class; the last is the background.
        queries: predictions of each query, as :func:`queries_svg` draws them.
    """
    cards = [
        {
            "name": e.name, "false_negatives": e.false_negatives, "false_positives": e.false_positives,
            "pred": picture(draw_detection(e.image, e.pred, labels, smallest=256)),
            "target": picture(draw_detection(e.image, e.target, labels, smallest=256, scores=False)),
        }
        for e in worst
    ]  # fmt: skip
    rows = [row for row in metrics.per_class if row.boxes]
    columns = [
        Column("AP", [row.ap for row in rows], [f"{row.ap:.3f}" for row in rows]),
        Column("AP50", [row.ap50 for row in rows], [f"{row.ap50:.3f}" for row in rows]),
        Column("boxes", [row.boxes for row in rows], [f"{row.boxes:,}" for row in rows], descending=True),
    ]
    return Markup(
        template("saccade.tasks.detection", "report").render(
            classes=class_table("class", [row.label for row in rows], columns),
            curves=Markup(precision_recall_curves(metrics)),
            worst=cards,
            names=[*labels, "background"],
            confusion=confusion_rows(confusion) if len(labels) <= LARGEST_CONFUSION else [],
            queries="" if queries is None else Markup(queries_svg(queries)),
        )
    )


def precision_recall_curves(metrics: DetectionMetrics) -> str:
    """Precision over recall at IoU 0.5, a line a class."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        axes = figure.subplots()
        classes = [row for row in metrics.per_class if row.boxes and row.precision][:CURVES]
        for index, row in enumerate(classes):
            recall = np.linspace(0, 1, len(row.precision))
            style = ("-", "--", ":")[index // len(COLOURS) % 3]
            axes.plot(recall, row.precision, style, color=COLOURS[index % len(COLOURS)], label=row.label, linewidth=1.3)
        axes.set(xlabel="recall", ylabel="precision (IoU 0.5)", xlim=(0, 1), ylim=(0, 1.03))
        if classes:
            axes.legend(fontsize=7, ncols=2)
        return to_svg(figure)


def queries_figure(images: Sequence[ObjectQueries]) -> Figure:
    """One row per image: its predicted boxes, then for each object the cross-attention of its query."""
    axes, figure = image_grid(len(images), 1 + max((len(i.objects) for i in images), default=0))
    for row, one in zip(axes, images):
        pixels = enlarge(one.image)
        factor = pixels.shape[0] / one.image.shape[0]
        row[0].imshow(pixels)
        for index, query in enumerate(one.objects):
            colour = COLOURS[index % len(COLOURS)]
            _rectangle(row[0], query.box.box, factor, colour)
            panel = row[1 + index]
            panel.imshow(overlay(one.image, query.attention))
            _rectangle(panel, query.box.box, factor, colour)
            panel.set_title(f"query {query.query}: {query.box.label} {query.box.score:.0%}", fontsize=9)
    return figure


def queries_svg(boxes: np.ndarray) -> str:
    """For each query the centres of its boxes over a data set, small boxes in one colour and large ones in another.

    Args:
        boxes: ``[N, Q, 5]`` centre x, centre y, width, height as fractions of the image, score.
    """
    count = min(boxes.shape[1], MAX_QUERIES)
    columns = min(count, 10)
    rows, median_area = -(-count // columns), np.median(boxes[..., 2] * boxes[..., 3])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.95 * columns, 1.1 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for panel in axes.flat:
            panel.axis("off")
        for query, panel in zip(range(count), axes.flat):
            x, y, width, height, score = boxes[:, query].T
            small = width * height < median_area
            for members, colour in ((small, COLOURS[0]), (~small, COLOURS[1])):
                panel.scatter(x[members], y[members], s=1.5, color=colour, alpha=0.5, linewidths=0)
            panel.add_patch(Rectangle((0, 0), 1, 1, fill=False, linewidth=0.6, edgecolor="0.6"))
            panel.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
            panel.set_title(f"{query}: {np.mean(score >= 0.5):.0%}", fontsize=7, pad=2)
        return to_svg(figure)


def _rectangle(axes: Axes, box: Sequence[float], factor: float, colour: str) -> None:
    left, top, right, bottom = (value * factor for value in box)
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=1.6, edgecolor=colour))
