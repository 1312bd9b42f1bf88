"""Images with any number of labels each, opened in place and split.

labels.csv with file,labels[,split]     labels as a;b or a|b; an empty cell is an image without labels
labels.csv with file,cat,dog,…[,split]  a column of 0 and 1 for each label
photos/cat/1.jpg, photos/dog/1.jpg      one folder a label; a link, or a copy, in several folders is one image
COCO, Pascal VOC, YOLO                  the classes of the objects in an image; no box is needed for its label
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from saccade.data.class_names import match_classes
from saccade.data.config import DataConfig
from saccade.data.image_folder import FILE_COLUMNS, FileSource
from saccade.data.images import is_image_name
from saccade.data.samples import DataSplits, ImageSource
from saccade.data.splits import SPLITS, assign_splits, named_split
from saccade.data.storage import FolderStorage
from saccade.data.tables import file_beside, read_numbered_table
from saccade.errors import DataError
from saccade.tasks.detection.records import RecordSource
from saccade.tasks.detection.sources import open_boxes

LABEL_COLUMNS = ("labels", "label", "tags", "classes", "class", "finding labels")
SEPARATORS = (";", "|", ",")
ZERO_ONE = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


class Entry(NamedTuple):
    """An image file, its labels, and its split in the data ("" where it has none)."""

    name: str
    labels: frozenset[str]
    split: str


class MultiLabelSource:
    """Images with a row of targets each; `labels` are all 0.

    Args:
        source: the images.
        targets: ``[len(source), K]`` boolean.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, source: ImageSource, targets: np.ndarray):
        self.source, self.targets = source, targets
        self.names: Sequence[str] = source.names
        self.labels = np.zeros(len(targets), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.targets)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return self.source.image(index, channels)

    def data(self, index: int) -> bytes:
        return self.source.data(index)


def open_multilabel(path: str, config: DataConfig | None = None, labels: tuple[str, ...] | None = None) -> DataSplits:
    """Open images with labels and split them.

    Args:
        path: a CSV or TSV, a folder with one folder a label, or detection data.
        config: fractions and seed for splits that the data set does not define.
        labels: of a model: the order of the targets; the data's own labels in the order of their names unless given.

    Raises:
        DataError: there is no such file or column, an image is missing, a cell is not readable, or the data has a
            label that the model does not have; the message names the file and the line.
    """
    config = config or DataConfig()
    place = Path(path)
    if place.suffix.lower() in (".csv", ".tsv"):
        names, entries = _read_table(place)
        return _splits(place, place.parent, entries, _numbers(names, labels, path), config)
    if place.is_dir() and not _is_detection(place):
        entries = _read_folders(place)
        names = {label for entry in entries for label in entry.labels}
        return _splits(place, place, entries, _numbers(names, labels, path), config)
    if not place.exists():
        raise DataError(f"there is no {path}: give a CSV of file,labels, a folder with one folder a label, or COCO")
    return _of_objects(path, config, labels)


class _Numbers(NamedTuple):
    """The order of the targets: a model's labels, or the data's own by name.

    Attributes:
        labels: in the order of the targets.
        number: the target of each label of the data.
        note: how the data's labels were matched to the model's; "" where the names are equal.
    """

    labels: tuple[str, ...]
    number: dict[str, int]
    note: str = ""


def _numbers(names: Iterable[str], labels: tuple[str, ...] | None, path: str) -> _Numbers:
    own = tuple(sorted(names))
    if labels is None:
        return _Numbers(own, {name: index for index, name in enumerate(own)})
    match = match_classes(own, labels, path)
    return _Numbers(labels, dict(zip(own, match.index.tolist())), match.note)


def _splits(place: Path, root: Path, entries: Sequence[Entry], numbers: _Numbers, config: DataConfig) -> DataSplits:
    labels, number, note = numbers
    if not entries:
        raise DataError(f"{place} contains no images")
    if not labels:
        raise DataError(f"{place} has no image with a label")
    parts: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for entry, split in zip(entries, assign_splits([entry.split for entry in entries], config)):
        parts[split].append(entry)
    if not parts["train"]:
        raise DataError(f"{place} has no training images")
    digest = hashlib.sha256()
    sources: dict[str, MultiLabelSource | None] = {}
    for split, part in parts.items():
        storage = FolderStorage(root, [entry.name for entry in part])
        targets = np.zeros((len(part), len(labels)), dtype=bool)
        for row, (entry, size) in enumerate(zip(part, storage.sizes)):
            targets[row, [number[label] for label in entry.labels]] = True
            digest.update(f"{entry.name}\0{size}\0{sorted(entry.labels)}\0{split}\n".encode())
        files = FileSource(storage, storage.names, np.zeros(len(part), dtype=np.int64), ())
        sources[split] = MultiLabelSource(files, targets) if part else None
    train = sources["train"]
    assert train is not None
    notes = (note,) if note else ()
    return DataSplits(train, sources["val"], sources["test"], labels, place.stem, digest.hexdigest(), notes)


# --------------------------------------------------------------------------------------------------------------- tables


def _read_table(place: Path) -> tuple[set[str], list[Entry]]:
    """(all labels, also those of no image; the images)."""
    if not place.is_file():
        raise DataError(f"there is no {place}: give a CSV of file,labels")
    columns, rows = read_numbered_table(place)
    file_column = next(
        (c for c in columns if c.replace(" ", "_") in (*FILE_COLUMNS, "image_name", "image_index")), None
    )
    if file_column is None:
        raise DataError(f"{place} needs a column for the file ({', '.join(FILE_COLUMNS)}); it has {', '.join(columns)}")
    others = [c for c in columns if c not in (file_column, "split")]
    label_column = next((c for c in LABEL_COLUMNS if c in others), None)
    binary = [c for c in others if all(row.get(c, "").lower() in ZERO_ONE for _, row in rows)]
    if label_column in (None, *binary) and binary:
        if len(binary) < len(others):
            odd = next(c for c in others if c not in binary)
            line, value = next((n, r.get(odd, "")) for n, r in rows if r.get(odd, "").lower() not in ZERO_ONE)
            raise DataError(f"{place}, line {line}: the column {odd} must hold 0 or 1, not {value!r}")
        cells = [frozenset(c for c in binary if ZERO_ONE[row[c].lower()]) for _, row in rows]
        names = set(binary)
    elif label_column is None:
        raise DataError(
            f"{place} needs a column {' or '.join(LABEL_COLUMNS[:3])} of lists such as a;b, or a column of 0 and 1 for "
            f"each label; it has {', '.join(columns)}"
        )
    else:
        cells = _label_lists(place, label_column, rows)
        names = set().union(*cells)
    entries = []
    for (line, row), labels in zip(rows, cells):
        name, split = row.get(file_column, ""), row.get("split", "").lower()
        if not name:
            raise DataError(f"{place}, line {line}: the column {file_column} is empty")
        file = file_beside(place, name)
        if file is None:
            raise DataError(f"{place}, line {line}: there is no {name} in the folder of the table")
        if split and named_split(split) is None:
            raise DataError(f"{place}, line {line}: {split!r} is not a split: use train, val or test")
        entries.append(Entry(file, labels, named_split(split) or ""))
    repeated = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
    return names, _merged(place, entries) if repeated else entries


def _label_lists(place: Path, column: str, rows: Sequence[tuple[int, dict[str, str]]]) -> list[frozenset[str]]:
    cells = [row.get(column, "") for _, row in rows]
    used = [separator for separator in SEPARATORS if any(separator in cell for cell in cells)]
    if len(used) > 1:
        raise DataError(
            f"{place}: the column {column} has {' and '.join(map(repr, used))}; separate labels by one of them only"
        )
    if not used and any(" " in cell for cell in cells):
        line, cell = next((n, row[column]) for n, row in rows if " " in row.get(column, ""))
        raise DataError(
            f"{place}, line {line}: {cell!r} can be one label or several; separate labels by ; or |, also where each "
            "image has only one (end one cell with ;)"
        )
    split = [cell.split(used[0]) if used else [cell] for cell in cells]
    return [frozenset(label.strip() for label in labels if label.strip()) for labels in split]


def _merged(place: Path, entries: Sequence[Entry]) -> list[Entry]:
    """One entry for each file: the rows of a table with one row a label."""
    merged: dict[str, Entry] = {}
    for entry in entries:
        before = merged.get(entry.name)
        if before is not None and before.split != entry.split:
            raise DataError(f"{place}: {entry.name} is in two splits")
        labels = entry.labels | (before.labels if before else frozenset())
        merged[entry.name] = Entry(entry.name, labels, entry.split)
    return list(merged.values())


# -------------------------------------------------------------------------------------------------------------- folders


def _is_detection(place: Path) -> bool:
    """Whether a folder has annotations of objects: a YAML of YOLO, JSON of COCO, XML of VOC."""
    patterns = ("*.yaml", "*.yml", "*.json", "*/*.json", "Annotations", "annotations", "*.xml", "labels")
    return any(next(place.glob(pattern), None) is not None for pattern in patterns)


def _read_folders(place: Path) -> list[Entry]:
    """Images by their content: the same file in several class folders, as a link or a copy, has several labels."""
    storage = FolderStorage(place)
    images = [(n, size) for n, size in zip(storage.names, storage.sizes) if is_image_name(n)]
    tops = {name.split("/")[0] for name, _ in images}
    has_splits = bool(tops) and all(map(named_split, tops))
    entries: dict[tuple[str, str], Entry] = {}
    shared = Counter(size for _, size in images)
    for name, size in images:
        parts = name.split("/")
        split, folder = (named_split(parts[0]) or "", parts[1:-1]) if has_splits else ("", parts[:-1])
        if not folder:
            raise DataError(f"{place}: {name} is in no folder of a label; for images without a label give a CSV")
        content = hashlib.sha256(storage.read(name)).hexdigest() if shared[size] > 1 else name
        before = entries.get((split, content))
        labels = frozenset({folder[0]}) | (before.labels if before else frozenset())
        entries[split, content] = Entry(before.name if before else name, labels, split)
    return list(entries.values())


# -------------------------------------------------------------------------------------------------------------- objects


def _of_objects(path: str, config: DataConfig, labels: tuple[str, ...] | None) -> DataSplits:
    """The classes of the objects in each image of detection data; crowds count."""
    splits = open_boxes(path, config)
    order, number, note = _numbers(splits.classes, labels, path)

    def with_targets(part: object) -> MultiLabelSource | None:
        if part is None:
            return None
        if not isinstance(part, RecordSource):
            raise DataError(f"{path} is built in and has boxes only: --task multilabel opens data on disk")
        targets = np.zeros((len(part), len(order)), dtype=bool)
        for row, record in enumerate(part.records):
            names = [*record.names, *(crowd.name for crowd in record.crowds)]
            targets[row, [number[name] for name in names]] = True
        return MultiLabelSource(part, targets)

    train = with_targets(splits.train)
    assert train is not None
    notes = (*splits.notes, note) if note else splits.notes
    return DataSplits(
        train, with_targets(splits.val), with_targets(splits.test), order, splits.name, splits.fingerprint, notes
    )
