"""The part of a report that belongs to segmentation."""

from typing import Any, cast

import numpy as np

from saccade.cli.reports.content import Content
from saccade.data.dense import IGNORE, DenseSource
from saccade.data.samples import DataSplits
from saccade.inference.predictor import Predictor
from saccade.reporting.dense import DensePicture, segmentation_section, segmentation_tiles
from saccade.tasks.predictions import SegmentationMetrics

WORST, LOOKED_AT = 9, 60


def content(predictor: Predictor, splits: DataSplits, told: dict[str, Any]) -> Content:
    """Figures, classes, and of some held-out images those with most wrong pixels."""
    metrics = SegmentationMetrics.from_dict(told["metrics"])
    source = cast(DenseSource, splits.test if told["split"] == "test" else splits.val)
    found = []
    for index in range(0, len(source), max(1, len(source) // LOOKED_AT)):
        image, true = source.with_map(index)
        said = predictor.dense(image)
        known = true != IGNORE
        right = float((said == true)[known].mean()) if known.any() else 1.0
        picture = np.asarray(image.convert("RGB"))
        figure = f"{right:.1%} of the pixels right"
        found.append((right, DensePicture(source.names[index], picture, said, true, figure)))
    worst = [p for _, p in sorted(found, key=lambda pair: pair[0])[:WORST]]
    return Content(metrics, segmentation_tiles(metrics), segmentation_section(metrics, predictor.labels, worst))
