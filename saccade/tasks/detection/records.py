"""Images with annotated boxes, whatever layout they were read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from saccade.data.images import MAX_PIXELS, read_image, size_of
from saccade.data.samples import BoxedImage, BoxTruth, Examination
from saccade.errors import ImageError
from saccade.files import MAX_IMAGE_BYTES, read_bytes
from saccade.tasks.detection.box_problems import DESCRIPTIONS, Box, find_problem
from saccade.tasks.detection.segmentations import rasterize, segmentation_problem


class Crowd(NamedTuple):
    """A region with an unknown number of objects (COCO's `iscrowd`), or an object that does not count (`difficult` of
    Pascal VOC): it is not trained on, and a detection in it is neither correct nor wrong."""

    box: Box
    name: str  # of the class
    area: float  # in pixels


@dataclass(frozen=True)
class Record:
    """One image file and its annotated boxes, with a class name for each; regions of crowds are separate."""

    path: Path
    boxes: tuple[Box, ...]
    names: tuple[str, ...]
    size: tuple[int, int] | None = None  # (width, height) by the annotation
    segmentations: tuple[Any, ...] = ()  # COCO polygons or RLE, one for each box, None where it has none; or empty
    areas: tuple[float, ...] = ()  # in pixels, one for each box; empty: those of the boxes
    crowds: tuple[Crowd, ...] = ()


class Contents(NamedTuple):
    """Contents of a data set on disk."""

    records: dict[str, list[Record]]  # by split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()  # files and objects that were skipped


class RecordSource:
    """Images of a list of records; larger ones than `max_pixels` are refused."""

    def __init__(self, root: Path, records: Sequence[Record], classes: tuple[str, ...], max_pixels: int | None = None):
        self.max_pixels = max_pixels or MAX_PIXELS
        self.root, self.records, self.classes = root, list(records), classes
        self.names: Sequence[str] = [_relative(record.path, root) for record in self.records]
        self.labels = np.zeros(len(self.records), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.records)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        name = str(self.records[index].path)
        return read_image(self.data(index), channels=channels, name=name, max_pixels=self.max_pixels)

    def data(self, index: int) -> bytes:
        path = self.records[index].path
        return read_bytes(path, error=ImageError, kind="image file", max_bytes=MAX_IMAGE_BYTES)

    def with_boxes(self, index: int, channels: int = 3) -> BoxedImage:
        record = self.records[index]
        image = self.image(index, channels)
        height, width = size_of(image)
        if record.size is not None and record.size != (width, height):
            turned = " (its EXIF orientation was ignored there)" if record.size == (height, width) else ""
            raise ImageError(
                f"{record.path} is {width} x {height}, but its annotation gives "
                f"{record.size[0]} x {record.size[1]}: the boxes were drawn on another image{turned}"
            )
        truth = self.truth(record)
        boxes, labels = truth.boxes[~truth.crowd].astype(np.float32), truth.labels[~truth.crowd]
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        has_area = (boxes[:, 2] - boxes[:, 0] > 0.5) & (boxes[:, 3] - boxes[:, 1] > 0.5)
        masks = None
        for number, segmentation in enumerate(record.segmentations):  # also of those that no mask is made of
            if problem := None if segmentation is None else segmentation_problem(segmentation, (width, height)):
                raise ImageError(f"{record.path}: the segmentation of box {number + 1} cannot be read: {problem}")
        if all(segmentation is not None for segmentation in record.segmentations) and (
            record.segmentations or not record.names
        ):
            segmentations = [record.segmentations[i] for i in np.flatnonzero(has_area)]
            masks = np.array([rasterize(segmentation, (width, height)) for segmentation in segmentations], bool)
            masks = masks.reshape(-1, height, width)
        return BoxedImage(image, boxes[has_area], labels[has_area], masks, truth)

    def examine(self, index: int, channels: int = 3) -> Examination:
        """As training reads it; boxes that it clips or leaves out."""
        height, width = size_of(self.with_boxes(index, channels).image)
        record, problems = self.records[index], []
        for box, label in zip(record.boxes, record.names):
            if kind := find_problem(box, width, height):
                problems.append(f"box {tuple(round(v, 1) for v in box)} of {label} {DESCRIPTIONS[kind]}")
        return Examination((height, width), tuple(problems))

    def truth(self, record: Record) -> BoxTruth:
        """The objects and crowds of an image as they are annotated; crowds of the source's classes only."""
        class_index = {name: i for i, name in enumerate(self.classes)}
        crowds = [crowd for crowd in record.crowds if crowd.name in class_index]
        boxes = np.array([*record.boxes, *(crowd.box for crowd in crowds)], np.float64).reshape(-1, 4)
        names = [*record.names, *(crowd.name for crowd in crowds)]
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        if record.areas:
            areas = np.array([*record.areas, *(crowd.area for crowd in crowds)], np.float64)
        crowd = np.arange(len(boxes)) >= len(record.boxes)
        return BoxTruth(boxes, np.array([class_index[name] for name in names], np.int64), areas, crowd)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if root in path.parents else path.name
