"""The part of a report that belongs to depth."""

from typing import Any, cast

import numpy as np

from saccade.cli.reports.content import Content
from saccade.data.dense import DenseSource
from saccade.data.samples import DataSplits
from saccade.inference.predictor import Predictor
from saccade.reporting.dense import DensePicture, depth_section, depth_tiles
from saccade.tasks.predictions import DepthMetrics

WORST = 8


def content(predictor: Predictor, splits: DataSplits, told: dict[str, Any]) -> Content:
    """Figures, and the images with the largest error, from the `predictions.json` of a run."""
    metrics = DepthMetrics(**told["metrics"])
    source = cast(DenseSource, splits.test if told["split"] == "test" else splits.val)
    place = {name: index for index, name in enumerate(source.names)}
    rows = sorted(told["predictions"], key=lambda row: -row["figures"]["abs_rel"])[:WORST]
    worst = []
    for row in rows:
        image, true = source.with_map(place[row["image"]])
        figure = f"AbsRel {row['figures']['abs_rel']:.3f}, δ1 {row['figures']['delta1']:.1%}"
        picture, said = np.asarray(image.convert("RGB")), predictor.metres(image, true)
        worst.append(DensePicture(row["image"], picture, said, true, figure))
    return Content(metrics, depth_tiles(metrics), depth_section(worst))
