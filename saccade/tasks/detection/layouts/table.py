"""Boxes in tables: a CSV with a line for each box, or the `metadata.jsonl` of Hugging Face's imagefolder.

labels.csv      filename,width,height,class,xmin,ymin,xmax,ymax: corners in pixels from 0, or all of them fractions
metadata.jsonl  {"file_name": "a.jpg", "objects": {"bbox": [[left, top, width, height], …], "categories": [0, …]}}
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.data.images import image_size
from saccade.data.tables import read_numbered_table, read_objects
from saccade.errors import DataError, ImageError
from saccade.tasks.detection.layouts.tree import (
    ImageTree,
    class_order,
    finite_box,
    hidden,
    refuse_repetitions,
    split_of,
)
from saccade.tasks.detection.records import Box, Contents, Record

log = logging.getLogger("saccade")

COLUMNS = {
    "image": ("filename", "file_name", "file", "image", "image_name", "image_path", "path", "image_id", "imageid"),
    "class": ("class", "label", "class_name", "label_name", "labelname", "category", "name"),
    "left": ("xmin", "x_min", "left", "x1"),
    "top": ("ymin", "y_min", "top", "y1"),
    "right": ("xmax", "x_max", "right", "x2"),
    "bottom": ("ymax", "y_max", "bottom", "y2"),
}  # what a column holds -> its names, in lower case
CORNERS = ("left", "top", "right", "bottom")
CATEGORIES = ("categories", "category", "labels", "label")
Rows = dict[str, dict[Path, "_Objects"]]  # split -> image -> its objects


@dataclass
class _Objects:
    """The annotations of one image."""

    boxes: list[Box] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None

    def record(self, path: Path) -> Record:
        return Record(path, tuple(self.boxes), tuple(self.names), self.size)


def table_files(root: Path) -> list[Path]:
    """The CSV and TSV files in a folder with columns of boxes, and the metadata.jsonl of it and of its folders."""
    files = [path for suffix in ("csv", "tsv") for path in sorted(root.glob(f"*.{suffix}")) if not hidden(path, root)]
    tables = [path for path in files if set(CORNERS) <= _columns(path).keys()]
    named = [path for path in tables if split_of(path.stem)]
    for path in tables:
        if named and path not in named:
            log.info("skipped: %s stands beside %s", path, named[0].name)
    return (named or tables) or [
        path
        for path in (root / "metadata.jsonl", *sorted(root.glob("*/metadata.jsonl")))
        if path.is_file() and not hidden(path, root)
    ]


def read_tables(root: Path, files: list[Path]) -> Contents:
    """The records of each split, and the classes: numbers in their order, names in alphabetical order."""
    rows: Rows = {}
    tree = ImageTree(root)
    for file in files:
        if file.suffix.lower() == ".jsonl":
            _read_metadata(tree, file, rows)
        else:
            _read_csv(tree, file, rows)
    records = {split: [row.record(path) for path, row in part.items()] for split, part in rows.items()}
    refuse_repetitions(records)
    return Contents(records, class_order(records))


def _columns(file: Path) -> dict[str, str]:
    """What is known -> the column that holds it; {} for a file that is no table."""
    try:
        present, _ = read_numbered_table(file)
    except DataError:
        return {}
    pairs = ((key, next((name for name in names if name in present), None)) for key, names in COLUMNS.items())
    return {key: name for key, name in pairs if name is not None}


def _read_csv(tree: ImageTree, file: Path, rows: Rows) -> None:
    columns = _columns(file)
    for key in COLUMNS:
        if key not in columns:
            raise DataError(f"{file} has no column of the {key}, such as {', '.join(COLUMNS[key][:4])}")
    _, lines = read_numbered_table(file)
    values = [_csv_box(line, columns, f"{file}, line {number}") for number, line in lines]
    known = [box for box in values if box is not None]
    are_fractions = bool(known) and max(value for box in known for value in box) <= 1.0
    for (number, line), box in zip(lines, values):
        where = f"{file}, line {number}"
        folders = [file.parent, file.parent / "images"]
        path = _image(tree, file, line[columns["image"]], folders)
        own = line.get("split") or line.get("set") or line.get("subset") or ""
        split = split_of(own) if own else split_of(file.stem) or "train"
        if split is None:
            raise DataError(f"{where}: {own!r} is not the name of a split, such as train, val or test")
        objects = rows.setdefault(split, {}).setdefault(path, _Objects())
        if box is None:
            continue
        name = line.get(columns["class"], "")
        if not name:
            raise DataError(f"{where}: the box has no class")
        if are_fractions:
            try:
                width, height = image_size(path)
            except ImageError:
                continue  # reading its pixels fails too, with this error, for this image alone
            box = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
        size = tuple(int(line[key]) if line.get(key, "").isdecimal() else 0 for key in ("width", "height"))
        objects.size = (size[0], size[1]) if min(size) > 0 else objects.size
        objects.boxes.append(box)
        objects.names.append(name)


def _csv_box(line: dict[str, str], columns: dict[str, str], where: str) -> Box | None:
    """The box of a line; None where all four fields are empty: an image without objects."""
    texts = [line.get(columns[key], "") for key in CORNERS]
    if not any(texts):
        return None
    try:
        return finite_box((float(text) for text in texts), where)
    except ValueError:
        raise DataError(f"{where}: {', '.join(texts)} are not four numbers") from None


def _read_metadata(tree: ImageTree, file: Path, rows: Rows) -> None:
    split = split_of(file.parent.name) if file.parent != tree.root else None
    part = rows.setdefault(split or "train", {})
    for number, row in read_objects(file, "file_name and objects"):
        where = f"{file}, line {number}"
        try:
            path = _image(tree, file, str(row["file_name"]), [file.parent])
            objects = row["objects"]
            if isinstance(objects, list):
                pairs = [(each["bbox"], _category(each)) for each in objects]
            else:
                pairs = list(zip(objects["bbox"], _category(objects), strict=True))
        except (KeyError, TypeError, ValueError, StopIteration) as error:
            raise DataError(f"{where}: objects with bbox and categories were expected: {error!r}") from None
        if path in part:
            raise DataError(f"{where}: {path} has a line already")
        entry = part.setdefault(path, _Objects())
        for values, category in pairs:
            try:
                x, y, w, h = finite_box(values, where)
            except (TypeError, ValueError):
                raise DataError(f"{where}: {values!r} is not left, top, width, height") from None
            entry.boxes.append((x, y, x + w, y + h))
            entry.names.append(_name(category, where))


def _category(objects: dict[str, Any]) -> Any:
    return objects[next(key for key in CATEGORIES if key in objects)]


def _name(category: Any, where: str) -> str:
    if (
        isinstance(category, bool)
        or not isinstance(category, int | str)
        or (isinstance(category, int) and category < 0)
    ):
        raise DataError(f"{where}: there is no class {category!r}")
    return str(category)


def _image(tree: ImageTree, file: Path, name: str, folders: list[Path]) -> Path:
    """The image of a line; a name without suffix, as Open Images has it, is that of an image of any format."""
    same_name = tree.with_stem(name) if "." not in name else []
    return tree.checked(same_name[0], file) if len(same_name) == 1 else tree.resolve(file, name, folders)
