"""Files that map numbers or colours of masks to the classes of a segmentation data set.

classes.json            a list of names in the order of their numbers, or a map of numbers to names
class_dict.csv          name,r,g,b: the colour of each class (Kaggle's CamVid, DeepGlobe)
_classes.csv            Pixel Value,Class (Roboflow)
labelmap.txt            name:r,g,b:parts:actions (CVAT, Datumaro)
label_colors.txt        r g b name (CamVid)
class_names.txt         one name per line, in the order of their numbers (LabelMe); also classes.txt, labels.txt
objectInfo150.txt       the table of ADE20K
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.tables import read_numbered_table
from saccade.errors import DataError
from saccade.files import read_lines
from saccade.json_io import read_json_file

IGNORE = -1  # the target of a pixel without a class
NO_CLASS = 255  # its number in a file, unless a class has this number
MAX_NUMBER = 2**16 - 1  # of a class in a mask
IGNORED_NAMES = ("unlabelled", "unlabeled", "void", "ignore", "ignored", "__ignore__")
FILES = (
    "classes.json", "class_dict.csv", "class_dict_seg.csv", "_classes.csv", "labelmap.txt", "label_colors.txt",
    "class_names.txt", "classes.txt", "labels.txt", "objectInfo150.txt",
)  # fmt: skip
ADE20K = "objectInfo150.txt"  # its numbers begin at 1; 0 is a pixel without one of its classes
NAME_COLUMNS = ("name", "class", "label", "class_name", "class name")
NUMBER_COLUMNS = ("pixel value", "idx", "id", "index", "class_index", "value")
COLOUR_COLUMNS = (("r", "g", "b"), ("red", "green", "blue"))
CVAT_LINE = re.compile(r"^(?P<name>[^:]+):\s*(?P<r>\d+)\s*,\s*(?P<g>\d+)\s*,\s*(?P<b>\d+)\s*(:.*)?$")
COLOUR_LINE = re.compile(r"^(?P<r>\d+)[\s,]+(?P<g>\d+)[\s,]+(?P<b>\d+)[\s,]+(?P<name>\S.*)$")

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CITYSCAPES_IDS = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip  # the 19 classes of its evaluation by `labelIds`; its other ids are not evaluated

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """The classes of masks.

    Attributes:
        file: name of the file that defines them, for messages.
        names: number in a mask -> class; several numbers may share one.
        colours: colour in a mask -> number; {}: masks hold numbers.
    """

    file: str
    names: dict[int, str]
    colours: dict[Colour, int] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of their numbers, without those that stand for pixels of no class."""
        names = (self.names[number] for number in sorted(self.names))
        return tuple(dict.fromkeys(name for name in names if name.lower() not in IGNORED_NAMES))

    def indices(self) -> np.ndarray:
        """The class index of each number in a file, ``[largest + 1]`` int64: IGNORE for pixels of no class, -2 for
        numbers that mean nothing."""
        indices = np.full(max(NO_CLASS, *self.names) + 1, -2, dtype=np.int64)
        indices[NO_CLASS] = IGNORE
        classes = self.classes
        for number, name in self.names.items():
            indices[number] = IGNORE if name.lower() in IGNORED_NAMES else classes.index(name)
        return indices


def numbered(file: str, names: Any) -> ClassTable:
    """Classes with the numbers 0, 1, 2, …"""
    return ClassTable(file, dict(enumerate(names)))


def class_table_file(root: Path, option: str = "") -> Path | None:
    """The file that names the classes: the given one, else one of :data:`FILES` in the folder or, as Roboflow has it,
    in its folder of training images."""
    if option:
        return Path(option)
    places = [folder / name for name in FILES for folder in (root, root / "train")]
    return next((place for place in places if place.is_file()), None)


def read_class_table(file: Path) -> ClassTable:
    """Read a file that names classes.

    Raises:
        DataError: it is none of the formats above, a colour or a number has two classes, or there is no class.
    """
    suffix = file.suffix.lower()
    if suffix == ".json":
        rows = _json_rows(file)
    elif suffix in (".csv", ".tsv") or file.name == ADE20K:
        rows = _table_rows(file)
    else:
        rows = _text_rows(file)
    names: dict[int, str] = {0: "unlabelled"} if file.name == ADE20K else {}
    colours: dict[Colour, int] = {}
    for number, name, colour in rows:
        if number > MAX_NUMBER:
            raise DataError(f"{file}: the number {number} of {name} is beyond {MAX_NUMBER}, the last of 16 bits")
        if number < 0 or names.setdefault(number, name) != name:
            raise DataError(f"{file}: the number {number} of {name} is below 0, or {names.get(number)} has it too")
        if colour is not None and colours.setdefault(colour, number) != number:
            raise DataError(f"{file}: {names[colours[colour]]} and {name} have the same colour {colour}")
    if colours and len(colours) < len(rows):
        raise DataError(f"{file}: some classes have a colour and others have none")
    table = ClassTable(file.name, names, colours)
    if not table.classes:
        raise DataError(f"{file} names no class")
    return table


Row = tuple[int, str, Colour | None]


def _json_rows(file: Path) -> list[Row]:
    try:
        content = read_json_file(file)
        numbers = enumerate(content) if isinstance(content, list) else content.items()
        rows = [(int(number), name) for number, name in numbers]
        if not all(isinstance(name, str) for _, name in rows):
            raise TypeError
    except (ValueError, AttributeError, TypeError, OverflowError):
        raise DataError(
            f"{file} must be a JSON list that names the classes in the order of their numbers, or a map of numbers to "
            "names"
        ) from None
    return [(number, name, None) for number, name in rows]


def _table_rows(file: Path) -> list[Row]:
    columns, lines = read_numbered_table(file)
    name = next((c for c in NAME_COLUMNS if c in columns), None)
    number = next((c for c in NUMBER_COLUMNS if c in columns), None)
    colour = next((names for names in COLOUR_COLUMNS if set(names) <= set(columns)), None)
    if name is None:
        raise DataError(f"{file} needs a column of names, such as name,r,g,b; it has {', '.join(columns)}")
    rows: list[Row] = []
    for index, (line, row) in enumerate(lines):
        where = f"{file}, line {line}"
        if len(row) < len(columns):
            raise DataError(f"{where} has {len(row)} fields, but there are {len(columns)} columns")
        value = _whole(row[number], where) if number else index
        rows.append((value, row[name], None if colour is None else _colour([row[c] for c in colour], where)))
    return rows


def _text_rows(file: Path) -> list[Row]:
    """Lines of CVAT, of CamVid, or names alone; LabelMe's `__ignore__` before the first class has no number."""
    rows: list[Row] = []
    for line, text in enumerate(read_lines(file), 1):
        text = text.strip()
        if not text or text.startswith("#") or (text == "__ignore__" and not rows):
            continue
        match = CVAT_LINE.match(text) or COLOUR_LINE.match(text)
        if match is None and text.count(":") > 1:
            raise DataError(f"{file}, line {line}: {text!r} is not name:r,g,b:parts:actions")
        colour = None if match is None else _colour([match["r"], match["g"], match["b"]], f"{file}, line {line}")
        rows.append((len(rows), text if match is None else match["name"].strip(), colour))
    return rows


def _whole(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{where}: {text!r} is not a whole number") from None


def _colour(values: list[str], where: str) -> Colour:
    red, green, blue = (_whole(value, where) for value in values)
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise DataError(f"{where}: a colour has three values from 0 to 255, not {red}, {green}, {blue}")
    return red, green, blue
