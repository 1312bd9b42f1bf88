"""COCO: JSON files with images, annotations and categories; image and category ids may have holes and start anywhere.

annotations/instances_train2017.json, train2017/ or images/train2017/    cocodataset.org
train/_annotations.coco.json                                             Roboflow
annotations/instances_default.json, images/default/                      CVAT
result.json, images/                                                     Label Studio
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.data.coco_images import image_folders
from saccade.data.splits import SPLITS
from saccade.errors import DataError
from saccade.json_io import read_json_file
from saccade.tasks.detection.layouts.tree import ImageTree, finite_box, hidden, refuse_repetitions, split_of
from saccade.tasks.detection.records import Box, Contents, Crowd, Record
from saccade.tasks.detection.segmentations import WITHOUT_AREA


@dataclass
class _Objects:
    """The annotations of one image."""

    boxes: list[Box] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    segmentations: list[Any] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    crowds: list[Crowd] = field(default_factory=list)


def coco_files(root: Path) -> list[Path]:
    """The JSON files of a folder that may be COCO annotations."""
    patterns = ("annotations/*.json", "*/_annotations.coco.json", "*.json", "*/*.json")
    files = ([path for path in sorted(root.glob(pattern)) if not hidden(path, root)] for pattern in patterns)
    return next((matches for matches in files if matches), [])


def read_coco(root: Path) -> Contents:
    """The records of each split, and the classes in the order of their ids.

    Files of captions, of panoptic segments and of images without annotations are skipped; of `instances_*` and
    `person_keypoints_*` of one split, the former are read.
    """
    contents, reasons = {}, []
    for file in coco_files(root):
        content = _load(file)
        reason = _why_not_boxes(content)
        if reason is None:
            contents[file] = content
        else:
            reasons.append(f"{file} {reason}")
    if not contents:
        raise DataError(f"{root} has no COCO annotation of boxes: {'; '.join(reasons) or 'no JSON file'}")
    notes = [f"skipped: {reason}" for reason in reasons]
    by_split: dict[str, list[Path]] = {}
    for file in contents:
        folder = file.relative_to(root).parent.name  # "" for a file in the root, whose own name says nothing
        by_split.setdefault(split_of(file.stem, folder) or "train", []).append(file)
    records: dict[str, list[Record]] = {}
    names: dict[int, str] = {}
    tree = ImageTree(root)
    for split in [split for split in SPLITS if split in by_split]:
        for file in _preferred(by_split[split], notes):
            categories = _categories(file, contents[file])
            for number, category in categories.items():
                if names.setdefault(number, category) != category:
                    raise DataError(f"{file}: category {number} is {category!r}, but {names[number]!r} in another file")
            records.setdefault(split, []).extend(_read_file(tree, file, split, contents[file], categories))
    refuse_repetitions(records)
    with_boxes = {name for part in records.values() for record in part for name in record.names}
    # A category without a box (a super-category, a hole) is not a class; two of one name are one class.
    classes = tuple(dict.fromkeys(names[number] for number in sorted(names) if names[number] in with_boxes))
    return Contents(records, classes, tuple(notes))


def _load(file: Path) -> Any:
    return read_json_file(file)


def _why_not_boxes(content: Any) -> str | None:
    """What a JSON file holds in place of boxes; None for a file of boxes."""
    if not isinstance(content, dict) or "images" not in content:
        return "is not a COCO annotation"
    if "annotations" not in content:
        return "lists images without annotations"
    if "categories" not in content:
        return "holds captions, not boxes" if _has(content, "caption") else "has no categories"
    return "holds panoptic segments, not boxes" if _has(content, "segments_info") else None


def _has(content: dict, key: str) -> bool:
    annotations = content["annotations"]
    return isinstance(annotations, list) and any(isinstance(row, dict) and key in row for row in annotations[:1])


def _preferred(files: list[Path], notes: list[str]) -> list[Path]:
    instances = [file for file in files if file.stem.startswith("instances")]
    if not instances:
        return files
    for file in files:
        if file not in instances:
            notes.append(f"skipped: {file} stands beside {instances[0].name}")
    return instances


def _categories(file: Path, content: dict) -> dict[int, str]:
    try:
        return {_number(category["id"]): str(category["name"]) for category in content["categories"]}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{file} is not a COCO annotation: a category without id or name ({error!r})") from None


def _read_file(tree: ImageTree, file: Path, split: str, content: dict, categories: dict[int, str]) -> list[Record]:
    for key in ("images", "annotations"):
        if not isinstance(content[key], list):
            raise DataError(f"{file} is not a COCO annotation: {key} must be a list, not {content[key]!r:.80}")
    for image in content["images"]:
        missing = _missing(image, ("id", "file_name"))
        if missing:
            raise DataError(f"{file} is not a COCO annotation: the image {image!r:.80} {missing}")
    try:
        images = {image["id"]: image for image in content["images"]}
    except TypeError:
        raise DataError(f"{file} is not a COCO annotation: an id of an image is neither number nor text") from None
    names = {number: str(image["file_name"]) for number, image in images.items()}
    annotations = content["annotations"]
    if len(images) < len(content["images"]):
        raise DataError(f"{file}: two images have one id")
    objects = {number: _Objects() for number in images}
    for annotation in annotations:
        _add(objects, annotation, categories, file)
    records = []
    for number, image in images.items():
        path = tree.resolve(file, names[number], image_folders(tree.root, file, split))
        row = objects[number]
        masks = () if all(mask is None for mask in row.segmentations) else tuple(row.segmentations)
        size = _size(image, file)
        records.append(
            Record(path, tuple(row.boxes), tuple(row.names), size, masks, tuple(row.areas), tuple(row.crowds))
        )
    return records


def _add(objects: dict[Any, _Objects], annotation: Any, categories: dict[int, str], file: Path) -> None:
    where = f"{file}: annotation {annotation.get('id') if isinstance(annotation, dict) else annotation!r:.80}"
    missing = _missing(annotation, ("image_id", "category_id", "bbox"))
    if missing:
        raise DataError(f"{where} {missing}")
    try:
        row, name = objects[annotation["image_id"]], categories[_number(annotation["category_id"])]
        x, y, w, h = finite_box(annotation["bbox"], where)
        area = annotation.get("area")
        area = w * h if area is None else float(area)
        if not math.isfinite(area):
            raise ValueError(f"an area of {area}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where} does not match the images or categories: {error!r}") from None
    box = (x, y, x + w, y + h)
    if annotation.get("iscrowd"):
        row.crowds.append(Crowd(box, name, area))
        return
    row.boxes.append(box)
    row.names.append(name)
    segmentation = annotation.get("segmentation")
    row.segmentations.append(None if _is_no_mask(segmentation) else segmentation)
    row.areas.append(area)


def _is_no_mask(segmentation: Any) -> bool:
    """Whether there is no segmentation: null, an empty list, polygons with fewer than three corners."""
    if isinstance(segmentation, list):
        return all(isinstance(polygon, list) and len(polygon) in WITHOUT_AREA for polygon in segmentation)
    return segmentation is None


def _number(value: Any) -> int:
    """The number of a category; raises ValueError for a fraction."""
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"the category {value}")
    return int(value)


def _missing(entry: Any, keys: tuple[str, ...]) -> str:
    """What an image or an annotation has not, as in "has no bbox"; "" where it has all keys."""
    if not isinstance(entry, dict):
        return f"is not an object with {', '.join(keys)}"
    return next((f"has no {key}" for key in keys if key not in entry), "")


def _size(image: dict, file: Path) -> tuple[int, int] | None:
    """(width, height); None where the file has null, 0 or nothing."""
    sides = []
    for key in ("width", "height"):
        value = image.get(key)
        try:
            side = int(value or 0)
            if side < 0 or isinstance(value, bool):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                f"{file}: image {image['id']} has the {key} {value!r:.80}, which is not a number of pixels"
            ) from None
        sides.append(side)
    width, height = sides
    return (width, height) if width and height else None
