"""`saccade predict`: what images show."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.errors import ConfigError, ImageError


@Parameter(name="*")
@dataclass(frozen=True)
class DetectorOptions:
    """What can be asked of a detector."""

    threshold: float | None = None
    """Score from which a box is told, 0.5 unless given, or a segment, 0.85."""
    panoptic: Annotated[bool, Parameter(negative="")] = False
    """Of a detector with masks: one segment for every pixel instead of boxes."""
    stuff: str = ""
    """With --panoptic: classes that are not counted, with commas between; COCO's 91 to 249 where the model has them."""


def predict(
    model: str,
    images: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    top: int = 5,
    batch_size: int = 16,
    image_size: int | None = None,
    device: str = "cpu",
    draw: Path | None = None,
    objects: DetectorOptions | None = None,
    as_json: Json = False,
    as_csv: Annotated[bool, Parameter(name="--csv", negative="", help="Print CSV instead of text.")] = False,
) -> int:
    """Say what images show. A broken image is named on stderr, the others go on, and the exit code is 1.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    images
        Files, folders (all images below them) and patterns such as "photos/*.jpg".
    top
        Classes to name for each image.
    batch_size
        Images at once.
    image_size
        Side in pixels, instead of the model's own; positions are resampled.
    device
        Such as cpu or cuda.
    draw
        Folder for pictures of what was found: boxes with names and scores; depth or classes of every pixel, with the
        maps themselves beside them.
    """
    from saccade.inference.predictor import PANOPTIC_THRESHOLD, load
    from saccade.tasks.detection import DetectionTask

    if top < 1:
        raise ConfigError(f"--top must be at least 1, not {top}")
    if as_json and as_csv:
        raise ConfigError("choose --json or --csv")
    paths = list(dict.fromkeys(path for text in images for path in expand(text)))
    predictor = load(model, image_size=image_size, device=device)
    if predictor.task in ("depth", "segmentation"):
        from saccade.cli.predict_dense import predict_dense

        return predict_dense(predictor, paths, draw, as_json)
    asked = objects or DetectorOptions()
    threshold = asked.threshold
    if asked.panoptic:
        from saccade.cli.predict_panoptic import predict_panoptic

        if as_csv:
            raise ConfigError("segments are told as text or --json")
        least = PANOPTIC_THRESHOLD if threshold is None else threshold
        return predict_panoptic(predictor, paths, asked.stuff, least, draw, as_json)
    detects = isinstance(predictor.about, DetectionTask)
    if not detects and (draw is not None or threshold is not None):
        raise ConfigError(f"--draw and --threshold are for detectors; this model's task is {predictor.task}")
    if isinstance(predictor.about, DetectionTask) and threshold is not None:
        predictor.about.threshold = threshold
    failed = 0

    def say(name: str, error: ImageError) -> None:
        nonlocal failed
        failed += 1
        print(f"saccade: {error}", file=sys.stderr)

    top = 100 if detects else top
    found: Iterator[Any] = predictor.stream(paths, top=top, batch_size=batch_size, on_error=say)
    if draw is not None:
        found = _drawn(found, draw, predictor.labels)
    if as_json:
        rows = coco_rows(list(found), predictor.labels) if detects else [p.to_dict() for p in found]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    elif as_csv and detects:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["image", "label", "score", "left", "top", "right", "bottom"])
        for prediction in found:
            for box in prediction.boxes:
                writer.writerow([prediction.image, box.label, f"{box.score:.6f}", *(f"{x:.1f}" for x in box.box)])
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["image", "rank", "label", "score"])
        for prediction in found:
            for rank, (label, score) in enumerate(prediction.top, 1):
                writer.writerow([prediction.image, rank, label, f"{score:.6f}"])
    else:
        for prediction in found:
            print(prediction, flush=True)
    return 1 if failed else 0


def coco_rows(predictions: list[Any], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Detections in COCO's form, one row a box: `bbox` is left, top, width, height in pixels."""
    number = {name: index for index, name in enumerate(labels)}
    return [
        {
            "image_id": found.image,
            "category_id": number[box.label],
            "category_name": box.label,
            "bbox": [box.box[0], box.box[1], box.box[2] - box.box[0], box.box[3] - box.box[1]],
            "score": box.score,
            **({"segmentation": box.segmentation} if box.segmentation else {}),
        }
        for found in predictions
        for box in found.boxes
    ]


def _drawn(predictions: Iterator[Any], folder: Path, labels: Sequence[str]) -> Iterator[Any]:
    """Draw each detection on its image while it passes."""
    import numpy as np

    from saccade.checkpoints.atomic import write_atomic
    from saccade.data.images import read_image
    from saccade.reporting.draw import draw_boxes, to_png

    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for found in predictions:
        stem = Path(found.image).stem
        name = next(n for n in (stem, *(f"{stem}-{i}" for i in range(2, 10**6))) if n not in taken)
        taken.add(name)
        picture = np.asarray(read_image(found.image))
        write_atomic(folder / f"{name}.png", to_png(draw_boxes(picture, found.boxes, labels)))
        yield found


def expand(text: str) -> Iterator[Path]:
    """The image files that an argument stands for. A name that is no folder and no pattern is taken as it is."""
    import glob

    from saccade.data.images import is_image_name

    path = Path(text)
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and is_image_name(p.name)]
    elif not path.exists() and glob.has_magic(text):
        found = [Path(p) for p in sorted(glob.glob(text, recursive=True)) if is_image_name(p)]
    else:
        found = [path]
    if not found:
        raise ImageError(f"{text}: there are no images")
    yield from found
