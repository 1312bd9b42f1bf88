"""The part of a report that belongs to a detector."""

from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

from saccade.cli.reports.content import Content
from saccade.data.samples import DataSplits
from saccade.inference.predictor import Predictor
from saccade.reporting.detection import BoxedPicture, detection_section, detection_tiles
from saccade.tasks.predictions import DetectionMetrics, FoundBox

WORST = 12


def content(predictor: Predictor, splits: DataSplits, told: dict[str, Any]) -> Content:
    """Figures, classes, and the images with most mistakes, from the `predictions.json` of a run."""
    metrics = DetectionMetrics.from_dict(told["metrics"])
    source = splits.test if told["split"] == "test" else splits.val
    assert source is not None
    place = {name: index for index, name in enumerate(source.names)}
    rows = []
    for row in told["predictions"]:
        found = [FoundBox(b["label"], b["score"], tuple(b["box"])) for b in row["boxes"]]
        true = [FoundBox(b["label"], 1.0, tuple(b["box"])) for b in row["truth"]]
        rows.append((*mistakes(found, true), row["image"], found, true))
    rows.sort(key=lambda row: -(row[0] + row[1]))
    worst = [
        BoxedPicture(name, np.asarray(source.image(place[name]).convert("RGB")), found, true, missed, wrong)
        for missed, wrong, name, found, true in rows[:WORST]
    ]
    return Content(metrics, detection_tiles(metrics), detection_section(metrics, predictor.labels, worst))


def mistakes(found: list[FoundBox], true: list[FoundBox]) -> tuple[int, int]:
    """(objects without a box of their class at IoU 0.5, boxes without an object); each object takes one box."""
    free = list(range(len(true)))
    wrong = 0
    for box in sorted(found, key=lambda b: -b.score):
        same = [i for i in free if true[i].label == box.label]
        overlaps = box_iou(torch.tensor([box.box]), torch.tensor([true[i].box for i in same]).reshape(-1, 4))[0]
        if len(same) and overlaps.max() >= 0.5:
            free.remove(same[int(overlaps.argmax())])
        else:
            wrong += 1
    return len(free), wrong
