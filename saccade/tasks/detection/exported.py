"""Boxes from the outputs of an exported graph. Loads no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.data.rle import encode_rle
from saccade.engine.exported import ExportedTask, refuse_options
from saccade.tasks.detection.results import Box, Detection

MOST = 100  # boxes of an image, as COCO's evaluation counts
IOU = 0.6  # of two boxes of a class that are the same object
LEAST = 0.01  # score of a box before suppression


class DetectionDecoder:
    """The boxes of each image: all of them for a graph of object queries, otherwise those left by non-maximum
    suppression.

    Args:
        task: its option `threshold` is the lowest score of a box, 0.5 by default.
    """

    def __init__(self, task: ExportedTask):
        refuse_options("detection", task.options, ("threshold",))
        self.labels, self.threshold = task.labels, task.options.get("threshold", 0.5)
        self.suppresses = bool(task.state["suppresses"])

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[Detection]:
        masks = outputs.get("masks", (None,) * len(names))
        columns = zip(names, outputs["boxes"], outputs["scores"], outputs["labels"], masks)
        return [self.detection(*one) for one in columns]

    def detection(
        self, name: str, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, masks: np.ndarray | None = None
    ) -> Detection:
        """The boxes ``[n, 4]`` of one image from the threshold on, highest score first, with their masks ``[n, H, W]``
        where there are some."""
        order = np.argsort(-scores, kind="stable")
        if self.suppresses:
            order = suppressed(boxes, labels, order[scores[order] > LEAST])
        order = order[:MOST]
        best = float(scores[order].max()) if len(order) else None
        confident = order[scores[order] >= self.threshold]
        objects = tuple(
            Box(
                self.labels[labels[i]], float(scores[i]), tuple(float(x) for x in boxes[i]),
                segmentation=None if masks is None else encode_rle(masks[i]), query=None if self.suppresses else i,
            )
            for i in confident.tolist()
        )  # fmt: skip
        return Detection(name, objects, self.labels, best, self.threshold)


def suppressed(boxes: np.ndarray, labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Non-maximum suppression by class: of two boxes of a class that overlap, the first in `order` is left."""
    corners = boxes.astype(np.float64)
    area = (corners[:, 2:] - corners[:, :2]).clip(min=0).prod(1)
    left: list[int] = []
    while len(order):
        first, order = int(order[0]), order[1:]
        left.append(first)
        common = np.minimum(corners[order, 2:], corners[first, 2:]) - np.maximum(corners[order, :2], corners[first, :2])
        intersection = common.clip(min=0).prod(1)
        iou = intersection / np.maximum(area[order] + area[first] - intersection, 1e-12)
        order = order[(iou <= IOU) | (labels[order] != labels[first])]
    return np.array(left, dtype=np.int64)
