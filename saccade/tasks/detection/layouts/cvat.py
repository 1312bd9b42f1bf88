"""CVAT for images: one XML file with all images, their boxes, outlines, ellipses and masks; images below the folder.

An image's `subset` is its split. Rotated boxes and ellipses are the upright box around them. Lines, points, skeletons,
cuboids and tags have no box.
"""

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from saccade.errors import DataError
from saccade.tasks.detection.layouts.tree import (
    ImageTree,
    begins_with,
    class_order,
    finite_box,
    hidden,
    read_xml,
    refuse_repetitions,
    split_of,
)
from saccade.tasks.detection.records import Box, Contents, Record

SHAPES = ("box", "polygon", "ellipse", "mask")


def cvat_files(root: Path) -> list[Path]:
    """The XML files below a folder with the annotations of several images."""
    paths = [path for path in sorted(root.rglob("*.[xX][mM][lL]")) if not hidden(path, root)]
    return [path for path in paths if is_cvat(path)]


def is_cvat(file: Path) -> bool:
    return begins_with(file, rb"<annotations[\s>]")


def read_cvat(root: Path, files: list[Path]) -> Contents:
    """The records of each split, and the classes in alphabetical order."""
    tree = ImageTree(root)
    records: dict[str, list[Record]] = {}
    notes = []
    for file in files:
        document = read_xml(file)
        if document.find("track") is not None:
            raise DataError(
                f"{file} holds the tracks of a video: export the task from CVAT as 'CVAT for images' or as COCO"
            )
        without_box: dict[str, int] = {}
        for element in document.iter("image"):
            split = split_of(element.get("subset", ""), file.stem) or "train"
            records.setdefault(split, []).append(_read_image(tree, file, element))
            for child in element:
                if child.tag not in SHAPES:
                    without_box[child.tag] = without_box.get(child.tag, 0) + 1
        notes += [
            f"skipped: {count} {tag} annotations of {file}, which have no box" for tag, count in without_box.items()
        ]
    refuse_repetitions(records)
    return Contents(records, class_order(records), tuple(notes))


def _read_image(tree: ImageTree, file: Path, element: Element) -> Record:
    boxes: list[Box] = []
    names, outlines = [], []
    image = element.get("name", "")
    try:
        size = int(element.get("width") or 0), int(element.get("height") or 0)
    except ValueError as error:
        raise DataError(f"{file}: image {image!r} has a size that is no number: {error}") from None
    for number, shape in enumerate((child for child in element if child.tag in SHAPES), 1):
        where = f"{file}: image {image!r}, {shape.tag} {number}"
        label = shape.get("label", "").strip()
        if not label:
            raise DataError(f"{where} has no label")
        try:
            points = _points(shape)
        except (KeyError, ValueError, OverflowError) as error:
            raise DataError(f"{where} cannot be read: {error!r}") from None
        if not all(math.isfinite(value) for point in points for value in point):
            raise DataError(f"{where} has a coordinate that is not finite")
        xs, ys = zip(*points)
        boxes.append(finite_box((min(xs), min(ys), max(xs), max(ys)), where))
        names.append(label)
        outlines.append([[value for point in points for value in point]] if shape.tag == "polygon" else None)
    folders = [tree.root / "images", tree.root / "images" / element.get("subset", ""), file.parent, tree.root]
    path = tree.resolve(file, image, folders)
    known = size if min(size) > 0 else None
    return Record(path, tuple(boxes), tuple(names), known, tuple(outlines) if all(outlines) else ())


def _points(shape: Element) -> list[tuple[float, float]]:
    """Points whose upright box is that of the shape; of a polygon, its corners."""
    values = shape.attrib
    if shape.tag == "polygon":
        points = [(float(x), float(y)) for x, y in (pair.split(",") for pair in values["points"].split(";"))]
        if len(points) < 3:
            raise ValueError(f"an outline of {len(points)} corners")
        return points
    if shape.tag == "mask":
        left, top, width, height = (float(values[key]) for key in ("left", "top", "width", "height"))
        return [(left, top), (left + width, top + height)]
    angle = math.radians(float(values.get("rotation") or 0))
    if shape.tag == "ellipse":
        x, y, rx, ry = (float(values[key]) for key in ("cx", "cy", "rx", "ry"))
        half_width = math.hypot(rx * math.cos(angle), ry * math.sin(angle))
        half_height = math.hypot(rx * math.sin(angle), ry * math.cos(angle))
    else:
        left, top, right, bottom = (float(values[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        if angle == 0:
            return [(left, top), (right, bottom)]
        x, y, w, h = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
        half_width = abs(w * math.cos(angle)) + abs(h * math.sin(angle))
        half_height = abs(w * math.sin(angle)) + abs(h * math.cos(angle))
    return [(x - half_width, y - half_height), (x + half_width, y + half_height)]
