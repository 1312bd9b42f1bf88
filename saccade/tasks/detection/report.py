"""What a report shows of a detector: AP by class and size, precision over recall, the worst images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from saccade.reporting.classification import LARGEST_CONFUSION, confusion_rows
from saccade.reporting.draw import draw_boxes
from saccade.reporting.looking import queries_svg
from saccade.reporting.plots import COLOURS, STYLE, to_svg
from saccade.reporting.report import picture, template
from saccade.tasks.predictions import DetectionMetrics, FoundBox

CURVES = 12  # classes whose curves are drawn


@dataclass(frozen=True)
class BoxedPicture:
    """A held-out image ``[H, W, 3]`` uint8 with what was found and what is there, and what is wrong with it."""

    name: str
    image: np.ndarray
    found: Sequence[FoundBox]
    true: Sequence[FoundBox]
    missed: int
    wrong: int


def detection_tiles(metrics: DetectionMetrics) -> Mapping[str, str]:
    """The figures on top."""
    sizes = {"AP small": metrics.ap_small, "AP medium": metrics.ap_medium, "AP large": metrics.ap_large}
    return {
        "AP": f"{metrics.ap:.3f}", "AP50": f"{metrics.ap50:.3f}", "AP75": f"{metrics.ap75:.3f}",
        **{name: f"{value:.3f}" for name, value in sizes.items() if value >= 0},
        "recall": f"{metrics.recall:.3f}",
    }  # fmt: skip


def detection_section(
    metrics: DetectionMetrics,
    labels: Sequence[str],
    worst: Sequence[BoxedPicture],
    confusion: Sequence[Sequence[int]],
    queries: np.ndarray | None = None,
) -> Markup:
    """The results.

    Args:
        metrics: of the split.
        labels: K class names.
        worst: the images with most mistakes first.
        confusion: ``[K + 1][K + 1]`` boxes, true class by said class; the last is the background.
        queries: what each query said of each image, as :func:`queries_svg` draws it.
    """
    cards = [
        {
            "name": p.name, "missed": p.missed, "wrong": p.wrong,
            "found": picture(draw_boxes(p.image, p.found, labels, 256)),
            "true": picture(draw_boxes(p.image, p.true, labels, 256, scores=False)),
        }
        for p in worst
    ]  # fmt: skip
    classes = sorted((row for row in metrics.per_class if row.boxes), key=lambda row: row.ap)
    return Markup(
        template("detection").render(
            classes=classes,
            curves=Markup(precision_curves(metrics)),
            worst=cards,
            names=[*labels, "background"],
            confusion=confusion_rows(confusion) if len(labels) <= LARGEST_CONFUSION else [],
            queries="" if queries is None else Markup(queries_svg(queries)),
        )
    )


def precision_curves(metrics: DetectionMetrics) -> str:
    """Precision over recall at IoU 0.5, a line a class."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        axes = figure.subplots()
        shown = [row for row in metrics.per_class if row.boxes and row.precision][:CURVES]
        for index, row in enumerate(shown):
            recall = np.linspace(0, 1, len(row.precision))
            style = ("-", "--", ":")[index // len(COLOURS) % 3]
            axes.plot(recall, row.precision, style, color=COLOURS[index % len(COLOURS)], label=row.label, linewidth=1.3)
        axes.set(xlabel="recall", ylabel="precision (IoU 0.5)", xlim=(0, 1), ylim=(0, 1.03))
        if shown:
            axes.legend(fontsize=7, ncols=2)
        return to_svg(figure)
