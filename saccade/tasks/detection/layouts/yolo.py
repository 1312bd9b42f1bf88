"""YOLO: a YAML file with the class names and the folders of images, and a text file for each image in `labels/`.

A line is `class x y width height`, or `class x1 y1 x2 y2 x3 y3 …` for the corners of an outline or of a rotated box.
All numbers but the class are fractions of the width and height of the image as it is shown, after its EXIF orientation.
"""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saccade.data.images import image_size, is_image_name
from saccade.data.splits import SPLITS
from saccade.errors import DataError, ImageError
from saccade.files import exists, is_file, read_bytes, read_lines
from saccade.tasks.detection.layouts.tree import ImageTree, hidden
from saccade.tasks.detection.records import Contents, Record
from saccade.yaml_io import read_yaml_file

SUFFIXES = (".yaml", ".yml")
OTHER_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}
# Beyond this, a coordinate is a pixel and not a fraction with a rounding error or a box that passes an edge.
MAX_FRACTION = 2.0


def yolo_files(root: Path) -> list[Path]:
    """The YAML files in a folder that name classes; otherwise `classes.txt` next to `labels/`, as in Label Studio."""
    files = [path for path in sorted(root.iterdir()) if path.suffix.lower() in SUFFIXES and _names_classes(path)]
    text = root / "classes.txt"
    return files or ([text] if text.is_file() and (root / "labels").is_dir() else [])


def _names_classes(file: Path) -> bool:
    """Whether a YAML file has `names`. Other programs' files need not be readable: a conda environment has tags of
    Python, which are not executed.

    Raises:
        DataError: a file with a line `names:` is not readable.
    """
    try:
        return "names" in _load(file)
    except DataError:
        if is_file(file) and re.search(rb"^\W*names\W*:", read_bytes(file), re.MULTILINE):
            raise
        return False


def read_yolo(root: Path, file: Path) -> Contents:
    """The records of each split, and the classes in the order of their numbers.

    Args:
        root: images outside this folder are refused.
        file: the YAML file.
    """
    content = _load(file)
    classes = _class_names(file, content)
    keypoints = _keypoint_values(file, content)
    records: dict[str, list[Record]] = {}
    tree = ImageTree(root)
    for split in SPLITS:
        images = _images(tree, file, content, split)
        if images:
            records[split] = [_read_file(path, classes, keypoints) for path in images]
    if records and not any(_label_file(r.path).is_file() for part in records.values() for r in part):
        first = next(record.path for part in records.values() for record in part)
        raise DataError(f"{file}: no image has a file of labels; of {first} it would be {_label_file(first)}")
    return Contents(records, tuple(dict.fromkeys(classes[number] for number in sorted(classes))))


def _load(file: Path) -> dict[str, Any]:
    if file.suffix.lower() not in SUFFIXES:  # one name per line
        return {"names": [line.strip() for line in read_lines(file) if line.strip()]}
    content = read_yaml_file(file, DataError, unique=False)
    return content if isinstance(content, dict) else {}


def _class_names(file: Path, content: Mapping[str, Any]) -> dict[int, str]:
    """Class number -> name; a map may have holes and start anywhere."""
    values = content.get("names")
    if isinstance(values, list):
        values = dict(enumerate(values))
    if not isinstance(values, dict) or not values:
        raise DataError(f"{file} does not name its classes: `names` must be a list or a map of numbers to names")
    try:
        names = {int(number): str(name) for number, name in values.items()}
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{file}: the keys of `names` must be the numbers of the classes") from None
    count = content.get("nc")
    if count is not None and count != len(names):
        raise DataError(f"{file} has nc: {count}, but names {len(names)} classes")
    return names


def _keypoint_values(file: Path, content: Mapping[str, Any]) -> int:
    """How many numbers a line has after its box, for keypoints."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and 0 <= n < 10**6 for n in shape):
        raise DataError(f"{file}: kpt_shape must be the number of keypoints and of their values, not {shape!r}")
    return math.prod(shape)


# -------------------------------------------------------------------------------------------------------------- images


def _images(tree: ImageTree, file: Path, content: Mapping[str, Any], split: str) -> list[Path]:
    """The images of a split, in the order of their names or of their list."""
    values = next((content[name] for name in OTHER_NAMES[split] if content.get(name)), None)
    if values is not None:
        parts = [
            _named_images(tree, file, content, value) for value in (values if isinstance(values, list) else [values])
        ]
        if all(part is not None for part in parts):
            return [path for part in parts for path in part or ()]
    for name in OTHER_NAMES[split]:
        for folder in (file.parent / "images" / name, file.parent / name / "images"):
            if folder.is_dir():
                return _in_folder(folder)
    if split == "train" and file.suffix.lower() not in SUFFIXES:
        return _in_folder(file.parent / "images")
    if values is not None:
        raise DataError(f"{file}: the images of {split}, {', '.join(map(str, values))}, are not there")
    return []


def _named_images(tree: ImageTree, file: Path, content: Mapping[str, Any], value: Any) -> list[Path] | None:
    """The images of a folder, or of a text file that lists images; None where it does not exist."""
    if not isinstance(value, str):
        raise DataError(
            f"{file}: the images of a split are a folder, a list of images or several of them, not {value!r}"
        )
    name = value.replace("\\", "/")
    base = str(content.get("path") or "").replace("\\", "/")
    # Relative to `path`, which is relative to the file or names the folder of the file; Roboflow writes ../train/images
    # for train/images.
    bases = [file.parent / base, file.parent]
    candidates = [folder / name for folder in bases] + [file.parent / name.removeprefix("../")]
    path = next((candidate for candidate in candidates if exists(candidate)), None)
    if path is None:
        return None
    root, resolved = Path(os.path.realpath(tree.root)), Path(os.path.realpath(path))
    if root not in (resolved, *resolved.parents):
        raise DataError(
            f"{file}: {value} leads out of {tree.root}: give the file itself in place of its folder to read it all the "
            "same"
        )
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() != ".txt":
        raise DataError(f"{file}: {value} is neither a folder nor a text file with a list of images")
    images = []
    for number, line in enumerate(read_lines(path), 1):
        if name := line.strip().replace("\\", "/"):
            places = (path.parent / name, file.parent / base / name, file.parent / name)
            image = next((place for place in places if is_file(place)), None)
            if image is None:
                raise DataError(f"{path}, line {number}: there is no image {name}")
            images.append(tree.checked(image, path))
    return images


def _in_folder(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if is_image_name(p.name) and not hidden(p, folder))


def _label_file(image: Path) -> Path:
    """`labels` in place of the last folder `images` in its path, otherwise next to the image."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 1 - parts[::-1].index("images")
        file = Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt")
        if file.is_file() or not image.with_suffix(".txt").is_file():
            return file
    return image.with_suffix(".txt")


# -------------------------------------------------------------------------------------------------------------- labels


def _read_file(path: Path, classes: Mapping[int, str], keypoints: int) -> Record:
    file = _label_file(path)
    try:
        width, height = image_size(path)
    except ImageError:
        return Record(path, (), ())  # reading its pixels fails too, with this error, for this image alone
    boxes, names, outlines = [], [], []
    for number, line in enumerate(read_lines(file) if is_file(file) else (), 1):
        if not line.strip():
            continue
        name, corners = _read_line(line, classes, keypoints, f"{file}, line {number}")
        xs, ys = [x * width for x in corners[0::2]], [y * height for y in corners[1::2]]
        boxes.append((min(xs), min(ys), max(xs), max(ys)))
        names.append(name)
        outlines.append([[value for point in zip(xs, ys) for value in point]] if len(xs) > 2 else None)
    return Record(path, tuple(boxes), tuple(names), (width, height), tuple(outlines) if all(outlines) else ())


def _read_line(line: str, classes: Mapping[int, str], keypoints: int, where: str) -> tuple[str, list[float]]:
    """The class name, and the corners as fractions: x1, y1, x2, y2, … of a box or of an outline."""
    try:
        label, *values = (float(value) for value in line.split())
    except ValueError:
        raise DataError(f"{where}: {line!r} has something else than numbers") from None
    if not all(map(math.isfinite, (label, *values))):
        raise DataError(f"{where}: {line!r} has a number that is not finite")
    if label not in classes:
        raise DataError(f"{where}: there is no class {label:g}; the classes are {', '.join(map(str, sorted(classes)))}")
    if max(map(abs, values), default=0) > MAX_FRACTION and not keypoints:
        raise DataError(f"{where}: {line!r} has pixels in place of fractions of the width and height")
    if keypoints and len(values) == 4 + keypoints:
        values = values[:4]
    if len(values) == 4:
        x, y, w, h = values
        return classes[int(label)], [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    if len(values) >= 6 and len(values) % 2 == 0:
        return classes[int(label)], values
    raise DataError(f"{where}: {line!r} is neither `class x y width height` nor `class x1 y1 x2 y2 x3 y3 …`")
