"""Results of detection: boxes with classes, with masks or a panoptic segmentation from models with a mask head."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from saccade.data.rle import decode_rle
from saccade.engine.notebook import NotebookPicture
from saccade.reporting.draw import class_colour, draw_boxes, draw_segments, to_png

Corners = tuple[float, ...]  # left, top, right, bottom


@dataclass(frozen=True)
class Box:
    """One object.

    Attributes:
        label: its class.
        score: the probability of that class, in [0, 1].
        box: left, top, right, bottom in pixels of the original image.
        segmentation: its mask in COCO's run-length encoding, from models with a mask head.
        query: the object query that predicted it, in models that have some.
    """

    label: str
    score: float
    box: Corners
    segmentation: dict[str, list[int]] | None = field(default=None, repr=False)
    query: int | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Detection(NotebookPicture):
    """The objects in one image.

    Attributes:
        name: name of the image.
        boxes: highest score first.
        labels: the class names of the model.
        best_score: the highest score of all predicted boxes; None if there are none.
        threshold: lowest score of `boxes`.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "label", "score", "left", "top", "right", "bottom")

    name: str
    boxes: tuple[Box, ...]
    labels: tuple[str, ...] = field(repr=False)
    best_score: float | None = field(default=None, repr=False, compare=False)
    threshold: float | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        if not self.boxes and self.best_score is not None:
            scores = f"the highest score is {self.best_score:.3g}, the threshold {self.threshold:g}"
            return f"{self.name}: no objects ({scores})"
        objects = [f"{b.label} {b.score:.0%} at {', '.join(f'{x:.0f}' for x in b.box)}" for b in self.boxes]
        return f"{self.name}: " + ("; ".join(objects) or "no objects")

    def to_dict(self) -> dict[str, Any]:
        boxes = [{k: list(v) if k == "box" else v for k, v in asdict(b).items() if v is not None} for b in self.boxes]
        return {"image": self.name, "boxes": boxes}

    def records(self) -> list[dict[str, Any]]:
        """The boxes in COCO's result format; `bbox` is left, top, width, height in pixels."""
        records = []
        for box in self.boxes:
            left, top, right, bottom = box.box
            record: dict[str, Any] = {
                "image_id": self.name,
                "category_id": self.labels.index(box.label),
                "category_name": box.label,
                "bbox": [left, top, right - left, bottom - top],
                "score": box.score,
            }
            if box.segmentation is not None:
                record["segmentation"] = box.segmentation
            records.append(record)
        return records

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, b.label, f"{b.score:.6f}", *(f"{x:.1f}" for x in b.box)) for b in self.boxes]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The boxes with classes and scores, and masks where there are some; a class has the same colour in every image
        of a model."""
        return draw_detection(image, self.boxes, self.labels)

    def files(self) -> Mapping[str, bytes]:
        return {}


def draw_detection(
    image: np.ndarray, boxes: tuple[Box, ...], labels: tuple[str, ...], *, smallest: int = 384, scores: bool = True
) -> np.ndarray:
    """Boxes over an image ``[H, W, 3]`` uint8, enlarged to at least `smallest` pixels a side; highest score on top."""
    ordered = sorted(boxes, key=lambda box: box.score)
    return draw_boxes(
        image,
        [box.box for box in ordered],
        [f"{box.label} {box.score:.0%}" if scores else box.label for box in ordered],
        [class_colour(labels.index(box.label), len(labels)) for box in ordered],
        [None if box.segmentation is None else decode_rle(box.segmentation) for box in ordered],
        smallest=smallest,
    )


@dataclass(frozen=True)
class Segment:
    """One object, or everything in an image of one class of stuff.

    Attributes:
        id: its number in the map, from 1.
        label: its class.
        score: the probability of that class, in [0, 1].
        area: in pixels.
    """

    id: int
    label: str
    score: float
    area: int


@dataclass(frozen=True)
class PanopticSegmentation(NotebookPicture):
    """One segment for every pixel of an image.

    Attributes:
        name: name of the image.
        ids: ``[H, W]`` int64, the segment of every pixel; 0 where no query is confident.
        segments: by their ids.
        labels: the class names of the model.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "segment", "label", "score", "area")

    name: str
    ids: np.ndarray = field(repr=False)
    segments: tuple[Segment, ...]
    labels: tuple[str, ...] = field(repr=False)

    @property
    def by_area(self) -> list[Segment]:
        """The segments, largest first."""
        return sorted(self.segments, key=lambda segment: -segment.area)

    def __str__(self) -> str:
        segments = ", ".join(f"{segment.label} {segment.area} px" for segment in self.by_area)
        return f"{self.name}: {segments or 'no segments'}"

    def to_dict(self) -> dict[str, Any]:
        return {"image": self.name, "segments": [asdict(segment) for segment in self.by_area]}

    def records(self) -> list[dict[str, Any]]:
        """The image in COCO's panoptic format, with the name of the PNG in :meth:`files`."""
        segments = [
            {
                "id": segment.id,
                "category_id": self.labels.index(segment.label),
                "category_name": segment.label,
                "score": segment.score,
                "area": segment.area,
            }
            for segment in self.by_area
        ]
        file_name = f"{Path(self.name).stem}-panoptic.png"
        return [{"image_id": self.name, "file_name": file_name, "segments_info": segments}]

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, s.id, s.label, f"{s.score:.6f}", s.area) for s in self.by_area]

    def draw(self, image: np.ndarray) -> np.ndarray:
        return draw_segments(image, self.ids, {segment.id: segment.label for segment in self.segments})

    def files(self) -> Mapping[str, bytes]:
        """A PNG in which a pixel of segment i is (i mod 256, i / 256, 0), as in COCO's panoptic files."""
        coded = np.stack((self.ids % 256, self.ids // 256, np.zeros_like(self.ids)), axis=-1)
        return {"-panoptic.png": to_png(coded.astype(np.uint8))}
