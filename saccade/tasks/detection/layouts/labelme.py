"""LabelMe: a JSON file for each image, next to it or in another folder; splits are the names of the folders.

Rectangles, circles, outlines and masks are boxes around their points; points and lines have no box.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from saccade.errors import DataError
from saccade.json_io import read_json_file
from saccade.tasks.detection.layouts.tree import (
    ImageTree,
    begins_with,
    class_order,
    finite_box,
    hidden,
    refuse_repetitions,
    split_of,
)
from saccade.tasks.detection.records import Box, Contents, Record

WITHOUT_BOX = ("point", "points", "line", "linestrip")
NO_CLASSES = ("__ignore__", "_background_")  # which LabelMe's own converters leave out too


def labelme_files(root: Path) -> list[Path]:
    """The JSON files below a folder that hold the shapes of one image."""
    paths = [path for path in sorted(root.rglob("*.json")) if not hidden(path, root)]
    return [path for path in paths if begins_with(path, rb'"shapes"\s*:\s*\[')]


def read_labelme(root: Path) -> Contents:
    """The records of each split, and the classes in alphabetical order."""
    tree = ImageTree(root)
    records: dict[str, list[Record]] = {}
    skipped: Counter[str] = Counter()
    for file in labelme_files(root):
        split = split_of(*reversed(file.relative_to(root).parts[:-1])) or "train"
        records.setdefault(split, []).append(_read_file(tree, file, skipped))
    refuse_repetitions(records)
    notes = (f"skipped: {count} shapes that are {what}" for what, count in sorted(skipped.items()))
    return Contents(records, class_order(records), tuple(notes))


def _read_file(tree: ImageTree, file: Path, skipped: Counter[str]) -> Record:
    boxes, names, outlines = [], [], []
    try:
        content = read_json_file(file)
        for number, shape in enumerate(content["shapes"], 1):
            kind, label = shape.get("shape_type") or "polygon", str(shape["label"]).strip()
            where = f"{file}: shape {number}"
            if not label:
                raise DataError(f"{where} has no label")
            if kind in WITHOUT_BOX or label in NO_CLASSES:
                skipped[f"a {kind} labelled {label}"] += 1
                continue
            points = [(float(x), float(y)) for x, y in shape["points"]]
            boxes.append(_box(kind, points, where))
            names.append(label)
            outlines.append([[v for point in points for v in point]] if kind == "polygon" and len(points) > 2 else None)
        size = tuple(int(content.get(key) or 0) for key in ("imageWidth", "imageHeight"))
        image = str(content.get("imagePath") or "")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{file} is not a LabelMe annotation: {error!r}") from None
    same_name = tree.with_stem(file.stem)
    if image or len(same_name) != 1:
        path = tree.resolve(file, image or file.stem, [file.parent])
    else:
        path = tree.checked(same_name[0], file)
    known = (size[0], size[1]) if min(size) > 0 else None
    return Record(path, tuple(boxes), tuple(names), known, tuple(outlines) if all(outlines) else ())


def _box(kind: str, points: list[tuple[float, float]], where: str) -> Box:
    if len(points) < 2:
        raise DataError(f"{where} has {len(points)} points, too few for a box")
    if kind == "circle":  # its middle, and a point on its edge
        (x, y), edge = points[0], points[1]
        radius = math.dist((x, y), edge)
        points = [(x - radius, y - radius), (x + radius, y + radius)]
    xs, ys = zip(*points)
    values: list[Any] = [min(xs), min(ys), max(xs), max(ys)]
    if any(math.isnan(value) for value in (*xs, *ys)):
        values[0] = math.nan  # which min and max may drop
    return finite_box(values, where)
