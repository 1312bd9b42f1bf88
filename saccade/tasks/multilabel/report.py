"""Report of a multi-label model: a table of labels, and the images with the most confident errors."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from markupsafe import Markup

from saccade.data.images import rgb_pixels
from saccade.data.samples import DataSplits, ImageSource
from saccade.engine.predictor import Predictor
from saccade.engine.report import ReportSection, TaskReport
from saccade.reporting.class_table import Column, class_table
from saccade.reporting.draw import enlarge
from saccade.reporting.report import picture, template
from saccade.tasks.multilabel.metrics import MultiLabelMetrics

EXAMPLES = 12


class MultiLabelReport(TaskReport):
    """Average precision of each label, errors."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = MultiLabelMetrics.from_dict(predictions["metrics"])
        source = cast(ImageSource, splits.test if predictions["split"] == "test" else splits.val)
        html = template("saccade.tasks.multilabel", "report").render(
            labels=labels_table(metrics),
            errors=error_cards(source, predictions["predictions"], predictor.preprocess.channels),
        )
        return ReportSection(metrics, multilabel_tiles(metrics), Markup(html))


REPORT = MultiLabelReport()


def labels_table(metrics: MultiLabelMetrics) -> Markup:
    """Metrics of each label, lowest average precision first."""
    rows = metrics.per_label

    def column(name: str, values: Sequence[float | None], form: str) -> Column:
        return Column(name, values, ["–" if value is None else form.format(value) for value in values])

    images = Column("images", [r.support for r in rows], [f"{r.support:,}" for r in rows], descending=True)
    columns = [
        column("AP", [r.ap for r in rows], "{:.1%}"), column("threshold", [r.threshold for r in rows], "{:.2f}"),
        column("precision", [r.precision for r in rows], "{:.1%}"),
        column("recall", [r.recall for r in rows], "{:.1%}"), column("F1", [r.f1 for r in rows], "{:.1%}"), images,
    ]  # fmt: skip
    return class_table("label", [row.label for row in rows], columns)


def multilabel_tiles(metrics: MultiLabelMetrics) -> Mapping[str, str]:
    """The metrics on top."""
    return {
        "mAP": "undefined" if metrics.mean_ap is None else f"{100 * metrics.mean_ap:.2f} %",
        "micro F1": f"{100 * metrics.micro_f1:.2f} %",
        "macro F1": f"{100 * metrics.macro_f1:.2f} %",
        "all labels right": f"{100 * metrics.exact:.2f} %",
    }


def error_cards(source: ImageSource, rows: Sequence[Mapping[str, Any]], channels: int = 3) -> list[dict[str, Any]]:
    """The images with the most wrong or missing labels."""
    index = {name: number for number, name in enumerate(source.names)}
    wrong = sorted(rows, key=lambda row: -len(set(row["labels"]) ^ set(row["truth"])))[:EXAMPLES]
    return [
        {
            "name": row["image"],
            "right": [label for label in row["labels"] if label in row["truth"]],
            "extra": [label for label in row["labels"] if label not in row["truth"]],
            "missing": [label for label in row["truth"] if label not in row["labels"]],
            "picture": picture(enlarge(rgb_pixels(source.image(index[row["image"]], channels)))),
        }
        for row in wrong
        if set(row["labels"]) != set(row["truth"])
    ]
