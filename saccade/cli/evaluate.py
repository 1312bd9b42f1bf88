"""`saccade evaluate`: how well a model does on labelled images."""

import json
from typing import TYPE_CHECKING

from saccade.cli.options import Json

if TYPE_CHECKING:
    from saccade.inference.predictor import Predictor


def evaluate(
    model: str,
    data: str,
    /,
    *,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    image_size: int | None = None,
    device: str = "cpu",
    stages: bool = False,
    as_json: Json = False,
) -> None:
    """Measure a model on labelled images: accuracy, top-5, each class, confusion, calibration; AP of boxes; errors of
    depth; IoU of classes; or how well images and captions find each other.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A folder, a CSV, a zip, tar shards, or "digits"; for a detector COCO, Pascal VOC, YOLO, or "scenes"; for a CLIP
        a CSV or JSONL of image,caption.
    split
        auto, train, val, test or all. auto: the test split that the model was not trained on, else all images.
    batch_size
        Images at once.
    workers
        Processes that load images.
    image_size
        Side in pixels, instead of the model's own; positions are resampled.
    device
        Such as cpu or cuda.
    stages
        Of a detector: measure after every decoder block (DETR), or before suppression (classical), each with and
        without suppression of duplicates.
    """
    from saccade.cli.counting import counting
    from saccade.inference.evaluation import evaluate as measure
    from saccade.inference.predictor import load
    from saccade.tasks.predictions import ClassificationMetrics, DetectionMetrics, SegmentationMetrics

    predictor = load(model, image_size=image_size, device=device)
    if stages:
        _stages(predictor, data, split, batch_size, workers, as_json)
        return
    with counting("images") as advance:
        found = measure(predictor, data, split=split, batch_size=batch_size, workers=workers, on_images=advance)
    if as_json:
        print(json.dumps({"split": found.split, "note": found.note, **found.metrics.to_dict()}, indent=1))
        return
    metrics = found.metrics
    print(f"{found.split} ({found.note})\n{metrics}\n")
    if isinstance(metrics, DetectionMetrics):
        width = max(len(row.label) for row in metrics.per_class)
        print(f"{'class':<{width}}     AP   AP50  boxes")
        for row in metrics.per_class:
            if row.boxes:
                print(f"{row.label:<{width}}  {row.ap:.3f}  {row.ap50:.3f} {row.boxes:>6}")
        return
    if isinstance(metrics, SegmentationMetrics):
        width = max(len(row.label) for row in metrics.per_class)
        print(f"{'class':<{width}}    IoU  recall     pixels")
        for row in metrics.per_class:
            print(f"{row.label:<{width}}  {row.iou:.3f}   {row.recall:.3f} {row.pixels:>10,}")
    if not isinstance(metrics, ClassificationMetrics):
        return
    rows = [row for row in metrics.per_class if row.support]
    width = max(len(row.label) for row in rows)
    print(f"{'class':<{width}}  precision  recall     F1  images")
    for row in rows:
        print(f"{row.label:<{width}}  {row.precision:>9.1%} {row.recall:>7.1%} {row.f1:>6.1%} {row.support:>7}")
    if len(rows) <= 20 and len(metrics.per_class) == len(rows):
        print("\nconfusion: rows are true classes, columns what the model said")
        for row, counts in zip(metrics.per_class, metrics.confusion):
            print(f"{row.label:<{width}}  " + " ".join(f"{count or '.':>4}" for count in counts))


def _stages(predictor: "Predictor", data: str, split: str, batch_size: int, workers: int | None, as_json: bool) -> None:
    from dataclasses import asdict

    from saccade.analysis.suppression import suppression_study
    from saccade.cli.counting import counting

    with counting("images") as advance:
        rows = suppression_study(
            predictor, data, split=split, batch_size=batch_size, workers=workers, on_images=advance
        )
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print(f"{'':<16}      AP  suppressed    AP50  suppressed  boxes told  duplicates")
    for row in rows:
        plain, left = row.plain, row.suppressed
        print(
            f"{row.stage:<16}   {plain.ap:.3f}       {left.ap:.3f}   {plain.ap50:.3f}       {left.ap50:.3f}"
            f"  {row.told:>10.1f}  {row.duplicates:>10.1%}"
        )
