"""Datumaro: `annotations/SPLIT.json` with items and categories, images in `images/` or `images/SPLIT/`.

A box, an outline and a mask of one group are one object, whose box is the annotated one if there is one.
"""

import math
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_masks

from saccade.errors import DataError
from saccade.json_io import read_json_file
from saccade.tasks.detection.layouts.tree import (
    ImageTree,
    begins_with,
    finite_box,
    hidden,
    refuse_repetitions,
    split_of,
)
from saccade.tasks.detection.records import Box, Contents, Crowd, Record

KINDS = ("bbox", "polygon", "mask")  # the first of a group gives the box


def datumaro_files(root: Path) -> list[Path]:
    """The JSON files of a folder whose categories are a map, not a list as in COCO."""
    paths = [*sorted(root.glob("annotations/*.json")), *sorted(root.glob("*.json"))]
    return [p for p in paths if not hidden(p, root) and begins_with(p, rb'"categories"\s*:\s*\{|"dm_format_version"')]


def read_datumaro(root: Path) -> Contents:
    """The records of each split, and the classes in the order of their numbers."""
    tree = ImageTree(root)
    records: dict[str, list[Record]] = {}
    classes: dict[str, None] = {}
    for file in datumaro_files(root):
        try:
            content = read_json_file(file)
            labels = [str(label["name"]) for label in content["categories"]["label"]["labels"]]
            items = [(item, str(item["id"]), list(item.get("annotations") or ())) for item in content["items"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file} is not a Datumaro annotation: {error!r}") from None
        classes |= dict.fromkeys(labels)
        part = [_read_item(tree, file, labels, *item) for item in items]
        records.setdefault(split_of(file.stem) or "train", []).extend(part)
    records = {split: part for split, part in records.items() if part}
    refuse_repetitions(records)
    with_boxes = {name for part in records.values() for record in part for name in record.names}
    return Contents(records, tuple(name for name in classes if name in with_boxes))


def _read_item(tree: ImageTree, file: Path, labels: list[str], item: Any, name: str, annotations: list) -> Record:
    groups: dict[Any, list[Any]] = {}
    boxes: list[Box] = []
    names, crowds = [], []
    try:
        for number, annotation in enumerate(annotations):
            if annotation["type"] in KINDS:
                groups.setdefault(annotation.get("group") or f"alone {number}", []).append(annotation)
        media = item.get("image") or item.get("media") or {}
        height, width = (int(value or 0) for value in media.get("size") or (0, 0))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{file}: item {name} has an annotation that cannot be read: {error!r}") from None
    for group in groups.values():
        annotation = min(group, key=lambda row: KINDS.index(row["type"]))
        where = f"{file}: item {name}, annotation {annotation.get('id')}"
        try:
            label = annotation["label_id"]
            if not isinstance(label, int) or not 0 <= label < len(labels):
                raise DataError(f"{where}: there is no class {label!r}; the numbers run from 0 to {len(labels) - 1}")
            box = _box(annotation, where)
            is_crowd = (annotation.get("attributes") or {}).get("is_crowd")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where} cannot be read: {error!r}") from None
        if is_crowd:
            crowds.append(Crowd(box, labels[label], (box[2] - box[0]) * (box[3] - box[1])))
        else:
            boxes.append(box)
            names.append(labels[label])
    folders = [tree.root / "images" / file.stem, tree.root / "images", tree.root]
    image = str(media.get("path") or "")
    if image:
        path = tree.resolve(file, image, folders)
    else:  # named by its id, without a suffix
        same_name = tree.with_stem(name.rsplit("/", 1)[-1])
        path = tree.checked(same_name[0], file) if len(same_name) == 1 else tree.resolve(file, name, folders)
    size = (width, height) if min(width, height) > 0 else None
    return Record(path, tuple(boxes), tuple(names), size, crowds=tuple(crowds))


def _box(annotation: Any, where: str) -> Box:
    if annotation["type"] == "mask":
        x, y, w, h = coco_masks.toBbox(annotation["rle"])
    elif annotation["type"] == "bbox":
        x, y, w, h = (float(value) for value in annotation["bbox"])
    else:
        values = [float(value) for value in annotation["points"]]
        if len(values) < 6 or len(values) % 2 or not all(map(math.isfinite, values)):
            raise DataError(f"{where}: an outline needs three corners of two finite numbers")
        return finite_box((min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])), where)
    return finite_box((x, y, x + w, y + h), where)
