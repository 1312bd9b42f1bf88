"""The part of a report that belongs to a detector."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torchvision.ops import box_iou

from saccade.analysis.queries import query_boxes
from saccade.cli.reports.content import Content
from saccade.data.samples import DataSplits, ImageSource
from saccade.inference.predictor import Predictor
from saccade.models.detr import DETR
from saccade.reporting.detection import BoxedPicture, detection_section, detection_tiles
from saccade.tasks.predictions import DetectionMetrics, FoundBox

WORST = 12
QUERIED = 300  # images of which every query is asked


def content(predictor: Predictor, splits: DataSplits, told: dict[str, Any]) -> Content:
    """Figures, classes, and the images with most mistakes, from the `predictions.json` of a run."""
    metrics = DetectionMetrics.from_dict(told["metrics"])
    source = cast(ImageSource, splits.test if told["split"] == "test" else splits.val)
    place = {name: index for index, name in enumerate(source.names)}
    rows, pairs = [], []
    for row in told["predictions"]:
        found = [FoundBox(b["label"], b["score"], tuple(b["box"])) for b in row["boxes"]]
        true = [FoundBox(b["label"], 1.0, tuple(b["box"])) for b in row["truth"]]
        rows.append((*mistakes(found, true), row["image"], found, true))
        pairs.append((found, true))
    rows.sort(key=lambda row: -(row[0] + row[1]))
    worst = [
        BoxedPicture(name, np.asarray(source.image(place[name]).convert("RGB")), found, true, missed, wrong)
        for missed, wrong, name, found, true in rows[:WORST]
    ]
    boxes = None
    if isinstance(predictor.model, DETR):
        boxes = query_boxes(predictor, (source.image(i) for i in range(min(len(source), QUERIED))))
    section = detection_section(metrics, predictor.labels, worst, confusion(pairs, predictor.labels), boxes)
    return Content(metrics, detection_tiles(metrics), section)


def confusion(pairs: Sequence[tuple[list[FoundBox], list[FoundBox]]], labels: Sequence[str]) -> list[list[int]]:
    """[true class][said class] boxes over all images; the last row and column are the background: what was found where
    nothing is, and what was missed. A box belongs to the object that it overlaps most, at IoU 0.5 or more."""
    place = {name: index for index, name in enumerate(labels)}
    counts = [[0] * (len(labels) + 1) for _ in range(len(labels) + 1)]
    for found, true in pairs:
        free = set(range(len(true)))
        said, there = (torch.tensor([b.box for b in boxes]).reshape(-1, 4) for boxes in (found, true))
        overlaps = box_iou(said, there)
        for index in sorted(range(len(found)), key=lambda i: -found[i].score):
            best = max(free, key=lambda i: overlaps[index, i].item(), default=None)
            column = place[found[index].label]
            if best is None or overlaps[index, best] < 0.5:
                counts[-1][column] += 1
            else:
                free.remove(best)
                counts[place[true[best].label]][column] += 1
        for missed in free:
            counts[place[true[missed].label]][-1] += 1
    return counts


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
