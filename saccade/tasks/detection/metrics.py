"""Metrics of detection: average precision by COCO's own code (pycocotools), confusion, errors of single images."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_area, box_iou

from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler
from saccade.errors import ConfigError
from saccade.tasks.detection.results import Box

MAX_DETECTIONS = 100  # of an image, as in COCO
MATCH_IOU = 0.5  # from which a box counts as a detection of an object, in confusion and errors


@dataclass(frozen=True)
class ClassAP:
    """Average precision of one class.

    Attributes:
        label: its name.
        ap: mean over IoU thresholds 0.50, 0.55 … 0.95; -1 where the class does not occur.
        ap50: at IoU 0.50.
        boxes: objects of the class.
        precision: at recalls 0, 0.05, … 1 with IoU 0.50.
    """

    label: str
    ap: float
    ap50: float
    boxes: int
    precision: tuple[float, ...]


@dataclass(frozen=True)
class DetectionMetrics:
    """Metrics of a detector by COCO's definitions; -1 if undefined.

    Attributes:
        ap: average precision, the mean over classes and over IoU thresholds 0.50, 0.55 … 0.95.
        ap50, ap75: average precision at one IoU threshold.
        ap_small, ap_medium, ap_large: average precision of objects with an area up to 32² pixels, up to 96² pixels, and
            above.
        recall: average recall over classes and IoU thresholds, with up to 100 boxes an image.
        images, boxes: number of images, and of objects in them without crowds.
        per_class: in the order of the labels.
        mask_iou: mean IoU of the masks of matched queries and objects, if masks are learned.
        recall_1, recall_10: as `recall`, with up to 1 and 10 boxes per image.
        recall_small, recall_medium, recall_large: as `recall`, of objects of these areas.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    recall: float
    images: int
    boxes: int
    per_class: tuple[ClassAP, ...]
    mask_iou: float | None = None
    recall_1: float = -1.0
    recall_10: float = -1.0
    recall_small: float = -1.0
    recall_medium: float = -1.0
    recall_large: float = -1.0

    @property
    def coco_stats(self) -> tuple[float, ...]:
        """COCO's twelve metrics in the order of `COCOeval.stats`."""
        precision = (self.ap, self.ap50, self.ap75, self.ap_small, self.ap_medium, self.ap_large)
        recall = (self.recall_1, self.recall_10, self.recall)
        return (*precision, *recall, self.recall_small, self.recall_medium, self.recall_large)

    @property
    def warning(self) -> str:
        return "" if self.boxes else "no image of the split has an object: the average precision is undefined"

    @property
    def count(self) -> int:
        return self.images

    @property
    def selection(self) -> float:
        return self.ap

    @property
    def ap_by_size(self) -> dict[str, float]:
        """AP of small, medium and large objects, of those that there are."""
        sizes = {"AP small": self.ap_small, "AP medium": self.ap_medium, "AP large": self.ap_large}
        return {name: value for name, value in sizes.items() if value >= 0}

    def scalars(self) -> dict[str, float]:
        metrics = {"AP": self.ap, "AP50": self.ap50, "AP75": self.ap75, **self.ap_by_size, "AR": self.recall}
        masks = {} if self.mask_iou is None else {"mask IoU": self.mask_iou}
        return {**{name: value for name, value in metrics.items() if value >= 0}, **masks}

    def table(self) -> str:
        """AP of each class that occurs."""
        rows = [row for row in self.per_class if row.boxes]
        width = max((len(row.label) for row in rows), default=5)
        lines = [f"{row.label:<{width}}  {row.ap:.3f}  {row.ap50:.3f} {row.boxes:>6}" for row in rows]
        return "\n".join([f"{'class':<{width}}     AP   AP50  boxes", *lines])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DetectionMetrics":
        """The inverse of :meth:`to_dict`, also after a JSON round trip."""
        rows = [ClassAP(**{**row, "precision": tuple(row["precision"])}) for row in values["per_class"]]
        return cls(**{**values, "per_class": tuple(rows)})

    def __str__(self) -> str:
        sizes = ", ".join(f"{name.removeprefix('AP ')} {value:.3f}" for name, value in self.ap_by_size.items())
        ap, ap50, ap75, recall = (format_figure(value) for value in (self.ap, self.ap50, self.ap75, self.recall))
        return (
            f"AP {ap}, AP50 {ap50}, AP75 {ap75}{f' ({sizes})' if sizes else ''}, recall {recall} on {self.boxes} boxes "
            f"in {self.images} images" + (f"; mask IoU {self.mask_iou:.3f}" if self.mask_iou is not None else "")
        )


def format_figure(value: float) -> str:
    """A COCO metric as text; -1 means undefined."""
    return f"{value:.3f}" if value >= 0 else "undefined"


def detection_metrics(collected: Collected, labels: Sequence[str]) -> DetectionMetrics:
    """The metrics of a split.

    Args:
        collected: the tensors of :meth:`saccade.tasks.detection.task.DetectionTask.collect`.
        labels: class names.

    Raises:
        ConfigError: the split is empty.
    """
    if not len(collected):
        raise ConfigError("there are no images to measure on")
    annotations, results = coco_rows(collected)
    masks = None
    if "mask_iou" in collected.tensors:
        overlaps = collected["mask_iou"]
        masks = overlaps.mean().item() if len(overlaps) else 0.0
    return average_precision(annotations, results, len(collected), labels, masks)


def detection_resampler(collected: Collected, labels: Sequence[str]) -> Resampler:
    """A function from a draw of images to its main metrics; arguments as for :func:`detection_metrics`.

    Boxes are matched with objects once, image by image; only the precision over all images is computed for each draw.
    """
    masks = collected.per_input("mask_iou", "num_masks") if "mask_iou" in collected.tensors else None
    evaluation = matched(*coco_rows(collected), len(collected), labels)
    images = np.empty(len(evaluation.evalImgs), dtype=object)
    images[:] = evaluation.evalImgs
    images = images.reshape(-1, len(collected))  # a row for each class and range of areas

    def resample(index: torch.Tensor) -> dict[str, float]:
        evaluation.evalImgs = images[:, index.numpy()].ravel().tolist()
        evaluation.params.imgIds = evaluation._paramsEval.imgIds = list(range(len(index)))
        scalars = summary(evaluation, [], (), len(index)).scalars()  # without the classes one by one
        if masks is not None:
            overlaps = torch.cat([masks[i] for i in index.tolist()])
            scalars["mask IoU"] = overlaps.mean().item() if len(overlaps) else 0.0
        return {name: value for name, value in scalars.items() if value >= 0}  # -1: there is no such object in the draw

    return resample


def coco_rows(collected: Collected) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Objects and predicted boxes in COCO's formats; images are numbers from 0."""
    pred = [collected.per_input(name, "num_boxes") for name in ("boxes", "scores", "labels")]
    columns = ("target_boxes", "target_labels", "target_areas", "target_crowd")
    target = [collected.per_input(name, "num_targets") for name in columns]
    annotations: list[dict[str, Any]] = []
    for image, (boxes, classes, areas, crowds) in enumerate(zip(*target)):
        objects = zip(coco_boxes(boxes), classes.tolist(), areas.tolist(), crowds.tolist())
        for box, label, area, crowd in objects:
            about = {"bbox": box, "area": area, "iscrowd": int(crowd), "image_id": image}
            annotations.append({**about, "id": len(annotations) + 1, "category_id": label})
    results = [
        {"image_id": image, "category_id": label, "bbox": box, "score": score}
        for image, (boxes, scores, classes) in enumerate(zip(*pred))
        for box, score, label in zip(coco_boxes(boxes), scores.double().tolist(), classes.tolist())
    ]
    return annotations, results


def average_precision(
    annotations: list[dict[str, Any]],
    results: list[dict[str, Any]],
    images: int,
    labels: Sequence[str],
    mask_iou: float | None = None,
) -> DetectionMetrics:
    """COCO's average precision of boxes.

    Args:
        annotations, results: in COCO's formats; images and categories are numbers from 0.
        images: how many.
        labels: class names.
        mask_iou: goes into the metrics as it is.
    """
    return summary(matched(annotations, results, images, labels), annotations, labels, images, mask_iou)


def matched(
    annotations: list[dict[str, Any]], results: list[dict[str, Any]], images: int, labels: Sequence[str]
) -> Any:
    """A `COCOeval` that has matched boxes with objects in every image; arguments as for :func:`average_precision`."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = coco_dataset(annotations, images, labels)
        detections = coco.loadRes(results) if results else coco_dataset([], images, labels)
        evaluation: Any = COCOeval(coco, detections, "bbox")
        evaluation.evaluate()
    return evaluation


def summary(
    evaluation: Any,
    annotations: list[dict[str, Any]],
    labels: Sequence[str],
    images: int,
    mask_iou: float | None = None,
) -> DetectionMetrics:
    """The metrics of a `COCOeval` that has matched; the others as for :func:`average_precision`."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"]  # [IoU, recall, class, area, number of boxes]
    per_class = []
    for number, name in enumerate(labels):
        values, at_half = precision[:, :, number, 0, -1], precision[0, :, number, 0, -1]
        count = sum(a["category_id"] == number and not a["iscrowd"] for a in annotations)
        curve = tuple(float(p) for p in at_half[::5])
        per_class.append(ClassAP(name, _mean(values), _mean(at_half), count, curve))
    stats = [float(value) for value in evaluation.stats]
    return DetectionMetrics(
        ap=stats[0], ap50=stats[1], ap75=stats[2], ap_small=stats[3], ap_medium=stats[4], ap_large=stats[5],
        recall_1=stats[6], recall_10=stats[7], recall=stats[8], recall_small=stats[9], recall_medium=stats[10],
        recall_large=stats[11], images=images, boxes=sum(row.boxes for row in per_class), per_class=tuple(per_class),
        mask_iou=mask_iou,
    )  # fmt: skip


def coco_dataset(annotations: list[dict[str, Any]], images: int, labels: Sequence[str]) -> Any:
    """A data set of pycocotools, indexed; images and categories are numbers from 0."""
    coco: Any = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(images)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(labels)],
    }
    coco.createIndex()
    return coco


def coco_boxes(boxes: torch.Tensor) -> list[list[float]]:
    """Corners ``[n, 4]`` -> left, top, width, height of each."""
    return torch.cat((boxes[:, :2].double(), (boxes[:, 2:].double() - boxes[:, :2].double())), dim=1).tolist()


def _mean(values: np.ndarray) -> float:
    """Over what could be measured; -1 where nothing could."""
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else -1.0


def confusion_matrix(images: Sequence[tuple[Sequence[Box], Sequence[Box]]], labels: Sequence[str]) -> list[list[int]]:
    """Boxes over all images, as ``[true class][predicted class]``. The last row counts boxes where there is no object,
    the last column missed objects.

    Boxes are assigned in the order of their scores, each to the free object with the highest IoU, from 0.5 on.

    Args:
        images: (predicted boxes, target boxes) of each.
        labels: K class names.
    """
    number = {name: index for index, name in enumerate(labels)}
    counts = [[0] * (len(labels) + 1) for _ in range(len(labels) + 1)]
    for pred, target in images:
        free = set(range(len(target)))
        overlaps = box_iou(corners_of(pred), corners_of(target))
        for index in sorted(range(len(pred)), key=lambda i: -pred[i].score):
            best = max(free, key=lambda i: overlaps[index, i].item(), default=None)
            column = number[pred[index].label]
            if best is None or overlaps[index, best] < MATCH_IOU:
                counts[-1][column] += 1
            else:
                free.remove(best)
                counts[number[target[best].label]][column] += 1
        for missed in free:
            counts[number[target[missed].label]][-1] += 1
    return counts


def without_crowds(pred: Sequence[Box], target: Sequence[Box], crowds: Sequence[Box]) -> tuple[Box, ...]:
    """The predicted boxes of an image that count as correct or wrong: all except unmatched ones with at least half of
    their area in a crowd of their class."""
    if not crowds:
        return tuple(pred)
    counted = []
    for box in pred:
        objects, regions = (corners_of([t for t in boxes if t.label == box.label]) for boxes in (target, crowds))
        corners = corners_of([box])
        left_top = torch.maximum(corners[:, :2], regions[:, :2])
        right_bottom = torch.minimum(corners[:, 2:], regions[:, 2:])
        inside = (right_bottom - left_top).clamp(min=0).prod(1) / box_area(corners)
        detected = (box_iou(corners, objects) >= MATCH_IOU).any()
        if detected or not (inside >= MATCH_IOU).any():
            counted.append(box)
    return tuple(counted)


def count_errors(pred: Sequence[Box], target: Sequence[Box]) -> tuple[int, int]:
    """(false negatives, false positives) of one image: objects without a box of their class at IoU 0.5, and boxes
    without an object; boxes take objects in the order of their scores."""
    free = list(range(len(target)))
    false_positives = 0
    for box in sorted(pred, key=lambda b: -b.score):
        same_class = [i for i in free if target[i].label == box.label]
        overlaps = box_iou(corners_of([box]), corners_of([target[i] for i in same_class]))[0]
        if len(same_class) and overlaps.max() >= MATCH_IOU:
            free.remove(same_class[int(overlaps.argmax())])
        else:
            false_positives += 1
    return len(free), false_positives


def corners_of(boxes: Sequence[Box]) -> torch.Tensor:
    """``[n, 4]``."""
    return torch.tensor([box.box for box in boxes]).reshape(-1, 4)
