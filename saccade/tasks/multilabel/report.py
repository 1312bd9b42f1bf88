"""What a report shows of a multi-label model: a table of labels, and the images with the most confident errors."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from markupsafe import Markup

from saccade.data.samples import DataSplits, ImageSource
from saccade.engine.predictor import Predictor
from saccade.engine.report import ReportSection, TaskReport
from saccade.reporting.draw import enlarge
from saccade.reporting.report import picture, template
from saccade.tasks.multilabel.metrics import MultiLabelMetrics

EXAMPLES = 12


class MultiLabelReport(TaskReport):
    """Average precision of each label, errors."""

    has_image_attention = True

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = MultiLabelMetrics.from_dict(predictions["metrics"])
        source = cast(ImageSource, splits.test if predictions["split"] == "test" else splits.val)
        html = template("saccade.tasks.multilabel", "report").render(
            labels=sorted(metrics.per_label, key=lambda row: (row.ap is None, row.ap)),
            errors=error_cards(source, predictions["predictions"]),
        )
        return ReportSection(metrics, multilabel_tiles(metrics), Markup(html))


REPORT = MultiLabelReport()


def multilabel_tiles(metrics: MultiLabelMetrics) -> Mapping[str, str]:
    """The metrics on top."""
    return {
        "mAP": "undefined" if metrics.mean_ap is None else f"{100 * metrics.mean_ap:.2f} %",
        "micro F1": f"{100 * metrics.micro_f1:.2f} %",
        "macro F1": f"{100 * metrics.macro_f1:.2f} %",
        "all labels right": f"{100 * metrics.exact:.2f} %",
    }


def error_cards(source: ImageSource, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The images with the most labels too many or missing."""
    index = {name: number for number, name in enumerate(source.names)}
    wrong = sorted(rows, key=lambda row: -len(set(row["labels"]) ^ set(row["truth"])))[:EXAMPLES]
    return [
        {
            "name": row["image"],
            "right": [label for label in row["labels"] if label in row["truth"]],
            "extra": [label for label in row["labels"] if label not in row["truth"]],
            "missing": [label for label in row["truth"] if label not in row["labels"]],
            "picture": picture(enlarge(np.asarray(source.image(index[row["image"]]).convert("RGB")))),
        }
        for row in wrong
        if set(row["labels"]) != set(row["truth"])
    ]
