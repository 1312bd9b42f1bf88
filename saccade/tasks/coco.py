"""Average precision as COCO counts it, by its own code (pycocotools)."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from saccade.errors import ConfigError
from saccade.tasks.predictions import ClassAP, DetectionMetrics

MAX_DETECTIONS = 100  # of an image


def coco_metrics(found: Tensor, truth: Tensor, labels: Sequence[str]) -> DetectionMetrics:
    """Boxes found ``[N, Q, 6]`` (corners in pixels, score, class) beside true ones ``[N, n, 5]`` (corners, class).

    Rows of NaN are no boxes.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if len(found) == 0:
        raise ConfigError("there are no images to measure on")
    images = [{"id": i} for i in range(len(found))]
    annotations: list[dict[str, Any]] = []
    for image, rows in enumerate(truth.double().numpy()):
        for x1, y1, x2, y2, label in rows[~np.isnan(rows[:, 4])]:
            box = [x1, y1, x2 - x1, y2 - y1]
            about = {"bbox": box, "area": box[2] * box[3], "iscrowd": 0, "image_id": image}
            annotations.append({**about, "id": len(annotations) + 1, "category_id": int(label)})
    results = []
    for image, rows in enumerate(found.double().numpy()):
        for x1, y1, x2, y2, score, label in rows[~np.isnan(rows[:, 4])]:
            box = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": image, "category_id": int(label), "bbox": box, "score": score})
    categories = [{"id": i, "name": name} for i, name in enumerate(labels)]
    coco: Any = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco.createIndex()
        if not annotations or not results:
            return _nothing(len(images), len(annotations), labels)
        evaluation: Any = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"]  # [IoU, recall, class, area, most]
    per_class = []
    for number, name in enumerate(labels):
        values = precision[:, :, number, 0, -1]
        half = precision[0, :, number, 0, -1]
        count = sum(a["category_id"] == number for a in annotations)
        per_class.append(ClassAP(name, _mean(values), _mean(half), count, tuple(float(p) for p in half[::5])))
    s = [float(value) for value in evaluation.stats]
    return DetectionMetrics(
        ap=s[0], ap50=s[1], ap75=s[2], ap_small=s[3], ap_medium=s[4], ap_large=s[5], recall=s[8],
        images=len(images), boxes=len(annotations), per_class=tuple(per_class),
    )  # fmt: skip


def _mean(values: np.ndarray) -> float:
    """Over what could be measured; -1 where nothing could."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def _nothing(images: int, boxes: int, labels: Sequence[str]) -> DetectionMetrics:
    none = tuple(ClassAP(name, 0.0, 0.0, 0, ()) for name in labels)
    return DetectionMetrics(0.0, 0.0, 0.0, -1.0, -1.0, -1.0, 0.0, images, boxes, none)
