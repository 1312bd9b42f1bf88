"""Images with boxes from annotations on disk: COCO JSON, Pascal VOC XML, YOLO text; or scenes of digits.

COCO    annotations/*train*.json beside images, or train/_annotations.coco.json; ids may have holes and start anywhere
VOC     Annotations/*.xml, JPEGImages/, ImageSets/Main/{train,val,test}.txt
YOLO    data.yaml with names, images/{train,val,test}/, labels/{train,val,test}/*.txt

Category ids are mapped here to class indices from 0; the class names are stored with the model.
"""

import hashlib
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image
from pycocotools import mask as coco_masks

from saccade.data.builtin.scenes import scene_splits
from saccade.data.config import DataConfig
from saccade.data.images import is_image_name, read_image
from saccade.data.samples import BoxedImage, BoxTruth, DataSplits
from saccade.data.splits import SPLITS, split_indices
from saccade.errors import DataError, ImageError


class Crowd(NamedTuple):
    """A region with an unknown number of objects (COCO's `iscrowd`)."""

    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels
    name: str  # of the class
    area: float  # in pixels


@dataclass(frozen=True)
class Record:
    """One image file and its annotated boxes: (left, top, right, bottom) in pixels, and a class name for each; regions
    of crowds are separate."""

    path: Path
    boxes: tuple[tuple[float, float, float, float], ...]
    names: tuple[str, ...]
    size: tuple[int, int] | None = None  # (width, height) by the annotation
    segmentations: tuple[Any, ...] = ()  # COCO polygons or RLE, one for each box; empty unless all boxes have one
    areas: tuple[float, ...] = ()  # in pixels, one for each box; empty: those of the boxes
    crowds: tuple[Crowd, ...] = ()


class RecordSource:
    """Images of a list of records."""

    def __init__(self, root: Path, records: Sequence[Record], classes: tuple[str, ...]):
        self.root, self.records, self.classes = root, list(records), classes
        self.names: Sequence[str] = [_relative(record.path, root) for record in self.records]
        self.labels = np.zeros(len(self.records), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.records)

    def image(self, index: int) -> Image.Image:
        return read_image(self.data(index), name=str(self.records[index].path))

    def data(self, index: int) -> bytes:
        path = self.records[index].path
        try:
            return path.read_bytes()
        except OSError as error:
            raise ImageError(f"{path} cannot be read: {error.strerror}") from None

    def with_boxes(self, index: int) -> BoxedImage:
        record = self.records[index]
        image = self.image(index)
        if record.size is not None and record.size != image.size:
            raise ImageError(
                f"{record.path} is {image.width} x {image.height}, but its annotation gives "
                f"{record.size[0]} x {record.size[1]}: the boxes were drawn on another image"
            )
        truth = self.truth(record)
        boxes, labels = truth.boxes[~truth.crowd].astype(np.float32), truth.labels[~truth.crowd]
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, image.width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, image.height)
        has_area = (boxes[:, 2] - boxes[:, 0] > 0.5) & (boxes[:, 3] - boxes[:, 1] > 0.5)
        masks = None
        if record.segmentations or not record.names:
            segmentations = [record.segmentations[i] for i in np.flatnonzero(has_area)]
            masks = np.array([rasterize(segmentation, image.size) for segmentation in segmentations], bool)
            masks = masks.reshape(-1, image.height, image.width)
        return BoxedImage(image, boxes[has_area], labels[has_area], masks, truth)

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


def open_boxes(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open images with boxes and split them.

    Args:
        path: "scenes", or a folder in the layout of COCO, Pascal VOC or YOLO.
        config: fractions and seed for splits that the data set does not define.

    Raises:
        DataError: there is no such folder, or an annotation cannot be read; the message names the file.
    """
    config = config or DataConfig()
    if path == "scenes":
        return scene_splits(config.scenes)
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"there is no folder {path}: give one in the layout of COCO, Pascal VOC or YOLO, or 'scenes'")
    if (root / "Annotations").is_dir():
        records, classes = _read_voc(root)
    elif any((root / name).is_file() for name in ("data.yaml", "data.yml", "dataset.yaml")):
        records, classes = _read_yolo(root)
    else:
        records, classes = _read_coco(root)
    parts = _hold_out(records, config)
    if not parts["train"]:
        raise DataError(f"{path} has no images to train on")
    if not classes:
        raise DataError(f"{path} has no box with a class")
    digest = hashlib.sha256(
        repr([(s, [(str(r.path.name), r.boxes, r.names) for r in parts[s]]) for s in SPLITS]).encode()
    )
    sources = [RecordSource(root, parts[split], classes) if parts[split] else None for split in SPLITS]
    assert sources[0] is not None
    return DataSplits(sources[0], sources[1], sources[2], classes, root.name, digest.hexdigest())


def _hold_out(records: dict[str, list[Record]], config: DataConfig) -> dict[str, list[Record]]:
    """The records of every split; a split that the data set does not define is held out from the training images."""
    samples = [(split, record) for split in SPLITS for record in records.get(split, [])]
    indices = split_indices([split for split, _ in samples], config)
    return {split: [samples[i][1] for i in indices[split]] for split in SPLITS}


# ---------------------------------------------------------------------------------------------------------------- COCO


def _read_coco(root: Path) -> tuple[dict[str, list[Record]], tuple[str, ...]]:
    files = [*sorted(root.glob("annotations/*.json")), *sorted(root.glob("*/_annotations.coco.json"))]
    files = files or sorted(root.glob("*.json"))
    if not files:
        raise DataError(
            f"{root} has neither annotations/*.json (COCO), nor Annotations/*.xml (Pascal VOC), nor data.yaml (YOLO)"
        )
    records: dict[str, list[Record]] = {}
    names: dict[int, str] = {}
    for file in files:
        name = f"{file.parent.name} {file.stem}".lower()
        split = next((s for s, parts in _SPLIT_PARTS.items() if any(part in name for part in parts)), "train")
        file_records, categories = _read_coco_file(root, file, split)
        for number, category in categories.items():
            if names.setdefault(number, category) != category:
                raise DataError(f"{file}: category {number} is {category!r}, but {names[number]!r} in another file")
        records.setdefault(split, []).extend(file_records)
    non_empty = _class_names(records)
    # In the order of their ids; a category without a box (a super-category, a hole) is not a class.
    return records, tuple(names[number] for number in sorted(names) if names[number] in non_empty)


def _class_names(records: dict[str, list[Record]]) -> set[str]:
    return {name for part in records.values() for record in part for name in record.names}


# Part of the name of an annotation file or of its folder -> split.
_SPLIT_PARTS = {"test": ("test",), "val": ("val", "valid", "dev"), "train": ("train",)}


def _read_coco_file(root: Path, file: Path, split: str) -> tuple[list[Record], dict[int, str]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        categories = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        images = {image["id"]: image for image in content["images"]}
        annotations = content["annotations"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is not a COCO annotation: {error!r}") from None
    boxes: dict[object, list] = {number: [] for number in images}
    crowds: dict[object, list[Crowd]] = {number: [] for number in images}
    for annotation in annotations:
        try:
            x, y, w, h = (float(value) for value in annotation["bbox"])
            name = categories[int(annotation["category_id"])]
            number, box, area = annotation["image_id"], (x, y, x + w, y + h), float(annotation.get("area", w * h))
            if annotation.get("iscrowd"):
                crowds[number].append(Crowd(box, name, area))
            else:
                boxes[number].append((box, name, annotation.get("segmentation"), area))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{file}: annotation {annotation.get('id')} does not match the images or categories: {error!r}"
            ) from None
    records = []
    for number, image in images.items():
        path = _find_image(root, file, split, image["file_name"])
        corners, names, segmentations, areas = (tuple(row[part] for row in boxes[number]) for part in range(4))
        size = (int(image["width"]), int(image["height"])) if "width" in image and "height" in image else None
        masks = segmentations if all(segmentations) else ()
        records.append(Record(path, corners, names, size, masks, areas, tuple(crowds[number])))
    return records, categories


def rasterize(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """A COCO segmentation (polygons or RLE) as a mask ``[H, W]`` boolean; `size` is (width, height)."""
    width, height = size
    if isinstance(segmentation, list):
        rle = coco_masks.merge(coco_masks.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_masks.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return coco_masks.decode(rle).astype(bool)


def _find_image(root: Path, file: Path, split: str, name: str) -> Path:
    folders = [file.parent, root / "images" / split, root / "images", root / split, root, root / f"{split}2017"]
    for folder in folders:
        path = folder / name
        if path.is_file() and root.resolve() in path.resolve().parents:
            return path
    raise DataError(f"{file} names the image {name}, which is neither in images/{split} nor beside the file")


# ----------------------------------------------------------------------------------------------------------------- VOC


def _read_voc(root: Path) -> tuple[dict[str, list[Record]], tuple[str, ...]]:
    pictures = {p.stem: p for p in sorted((root / "JPEGImages").glob("*")) if is_image_name(p.name)}
    lists = {split: root / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS}
    if lists["train"].is_file():
        stems = {split: path.read_text().split() for split, path in lists.items() if path.is_file()}
    else:
        stems = {"train": sorted(p.stem for p in (root / "Annotations").glob("*.xml"))}
    records = {
        split: [_read_voc_file(root / "Annotations" / f"{stem}.xml", stem, pictures) for stem in split_stems]
        for split, split_stems in stems.items()
    }
    return records, tuple(sorted(_class_names(records)))


def _read_voc_file(file: Path, stem: str, pictures: dict[str, Path]) -> Record:
    if stem not in pictures:
        raise DataError(f"{file}: there is no image {stem} in JPEGImages")
    try:
        tree = ElementTree.fromstring(_without_entities(file))
        boxes, names = [], []
        for element in tree.iter("object"):
            box = {child.tag: float(child.text or "") for child in element.find("bndbox") or ()}
            boxes.append((box["xmin"] - 1, box["ymin"] - 1, box["xmax"], box["ymax"]))  # counted from 1, ends included
            names.append((element.findtext("name") or "").strip())
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        raise DataError(f"{file} is not a Pascal VOC annotation: {error!r}") from None
    return Record(pictures[stem], tuple(boxes), tuple(names))


def _without_entities(file: Path) -> str:
    text = file.read_text(encoding="utf-8", errors="replace")
    if "<!ENTITY" in text:
        raise DataError(f"{file} declares XML entities, which no annotation needs: not read")
    return text


# ---------------------------------------------------------------------------------------------------------------- YOLO


def _read_yolo(root: Path) -> tuple[dict[str, list[Record]], tuple[str, ...]]:
    file = next(root / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (root / name).is_file())
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        values = content["names"]
        names = [str(values[k]) for k in sorted(values)] if isinstance(values, dict) else [str(name) for name in values]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{file} does not name its classes: {error!r}") from None
    records = {}
    for split in SPLITS:
        folder = next((p for p in _yolo_folders(root, content, split) if p.is_dir()), None)
        if folder is not None:
            pictures = sorted(p for p in folder.rglob("*") if is_image_name(p.name))
            records[split] = [_read_yolo_file(path, names) for path in pictures]
    return records, tuple(names)


def _yolo_folders(root: Path, content: dict, split: str) -> list[Path]:
    """Where the images of a split may be, the folder that the data set names first."""
    named = content.get(split)
    other = {"val": "valid"}.get(split, split)
    usual = [root / "images" / split, root / split / "images", root / other / "images"]
    return [root / named, *usual] if isinstance(named, str) and not Path(named).is_absolute() else usual


def _read_yolo_file(path: Path, classes: list[str]) -> Record:
    parts = list(path.parts)
    file = path.with_suffix(".txt")
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        file = Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt")
    try:
        width, height = Image.open(path).size
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is not an image: {error}") from None
    boxes, names = [], []
    for number, line in enumerate(file.read_text().splitlines() if file.is_file() else [], 1):
        try:
            label, x, y, w, h = (float(value) for value in line.split()[:5])
            if label < 0:
                raise ValueError(label)
            names.append(classes[int(label)])
        except (ValueError, IndexError):
            raise DataError(f"{file}, line {number}: {line!r} is not `class x y width height`") from None
        boxes.append(((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height))
    return Record(path, tuple(boxes), tuple(names), (width, height))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if root in path.parents else path.name
