"""Report of depth: the errors, and the worst images with their ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from markupsafe import Markup

from saccade.data.images import rgb_pixels
from saccade.data.samples import DataSplits
from saccade.engine.predictor import Predictor
from saccade.engine.report import ReportSection, TaskReport
from saccade.reporting.draw import enlarge
from saccade.reporting.report import picture, template
from saccade.tasks.dense.alignment import measurable
from saccade.tasks.dense.depth import DepthTask
from saccade.tasks.dense.depth_metrics import DepthMetrics
from saccade.tasks.dense.drawing import depth_colours
from saccade.tasks.dense.sources import DenseSource

WORST = 8  # images
LARGEST_ERROR = 0.5  # relative error that is drawn in the brightest colour


@dataclass(frozen=True)
class DepthExample:
    """A held-out image ``[H, W, 3]`` uint8 with its prediction and its ground truth, ``[H, W]`` metres."""

    name: str
    image: np.ndarray
    pred: np.ndarray
    target: np.ndarray
    errors: Mapping[str, float]


class DepthReport(TaskReport):
    """Errors and the worst images."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = DepthMetrics.from_dict(predictions["metrics"])
        source = cast(DenseSource, splits.test if predictions["split"] == "test" else splits.val)
        worst = worst_examples(predictor, source, predictions["predictions"])
        return ReportSection(metrics, depth_tiles(metrics), depth_section(worst))


REPORT = DepthReport()


def worst_examples(
    predictor: Predictor, source: DenseSource, rows: Sequence[Mapping[str, Any]]
) -> Sequence[DepthExample]:
    """The images with the largest relative error, the worst first, each aligned as the metrics are."""
    task = cast(DepthTask, predictor.task)
    index = {name: number for number, name in enumerate(source.names)}
    measured = [row for row in rows if row["figures"]["abs_rel"] is not None]
    examples = []
    for row in sorted(measured, key=lambda row: -row["figures"]["abs_rel"])[:WORST]:
        image, target = source.with_map(index[row["image"]], predictor.preprocess.channels)
        pred, target = torch.from_numpy(predictor.predict(image).depth), torch.from_numpy(target)
        aligned, target = task.aligned(pred, target), measurable(target, task.config.max_depth)
        examples.append(DepthExample(row["image"], rgb_pixels(image), aligned.numpy(), target.numpy(), row["figures"]))
    return examples


def depth_tiles(metrics: DepthMetrics) -> Mapping[str, str]:
    """The metrics on top."""
    return {
        "δ < 1.25": f"{100 * metrics.delta1:.2f} %", "δ < 1.25²": f"{100 * metrics.delta2:.2f} %",
        "AbsRel": f"{metrics.abs_rel:.4f}", "RMSE": f"{metrics.rmse:.3f} m", "SILog": f"{metrics.silog:.2f}",
        **{name: f"{value:.4f}" for name, value in metrics.logarithmic.items()},
    }  # fmt: skip


def depth_section(worst: Sequence[DepthExample]) -> Markup:
    """Image, predicted depth, ground truth, relative error of each example."""
    cards = []
    for example in worst:
        low, high = float(np.nanmin(example.target)), float(np.nanmax(example.target))
        error = np.abs(example.pred - example.target) / example.target
        parts = [
            example.image,
            depth_colours(example.pred, low, high),
            depth_colours(example.target, low, high),
            depth_colours(error, 0, LARGEST_ERROR),
        ]
        text = f"AbsRel {example.errors['abs_rel']:.3f}, δ1 {example.errors['delta1']:.1%}"
        cards.append({"name": example.name, "text": text, "pictures": [picture(enlarge(part)) for part in parts]})
    html = template("saccade.tasks.dense", "depth_report").render(cards=cards, largest_error=f"{LARGEST_ERROR:.0%}")
    return Markup(html)
