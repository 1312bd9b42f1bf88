"""Images with any number of labels each, opened in place and split.

labels.csv with file,labels[,split]     labels as a;b or a|b; an empty cell is an image without labels
labels.csv with file,cat,dog,…[,split]  a column of 0 and 1 for each label
photos/cat/1.jpg, photos/dog/1.jpg      one folder per label; a link, or a copy, in several folders is one image
metadata.jsonl, Parquet, tars           with a field of lists, or a field of 0 and 1 for each label
COCO, Pascal VOC, YOLO                  the classes of the objects in an image; no box is needed for its label
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from saccade.data.class_names import match_classes
from saccade.data.config import DataConfig
from saccade.data.image_folder import FileSource
from saccade.data.images import is_image_name
from saccade.data.record_types import Records, class_name
from saccade.data.records import Target, read_records
from saccade.data.samples import DataSplits, ImageSource, pixels_of, require_text
from saccade.data.splits import SPLITS, assign_splits, named_split
from saccade.data.storage import FolderStorage, Storage
from saccade.data.tables import read_objects
from saccade.errors import DataError
from saccade.files import exists, is_dir
from saccade.tasks.detection.records import RecordSource
from saccade.tasks.detection.sources import open_boxes

LABEL_COLUMNS = ("labels", "label", "tags", "classes", "class", "finding labels", "cls", "txt")
LABELS = Target("labels", LABEL_COLUMNS[1:])
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
    target_name = "labels"

    def __init__(self, source: ImageSource, targets: np.ndarray):
        self.source, self.targets = source, targets
        self.names: Sequence[str] = source.names
        self.labels = np.zeros(len(targets), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.targets)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return self.source.image(index, channels)

    def pixels(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return pixels_of(self.source, index, channels)

    def data(self, index: int) -> bytes:
        return self.source.data(index)

    def target(self, index: int) -> bytes:
        """The labels in a form that can be compared."""
        return self.targets[index].tobytes()


def open_multilabel(path: str, config: DataConfig | None = None, labels: tuple[str, ...] | None = None) -> DataSplits:
    """Open images with labels and split them.

    Args:
        path: a CSV or TSV, a folder with one subfolder per label, or detection data.
        config: fractions and seed for splits that the data set does not define.
        labels: of a model: the order of the targets; the data's own labels in the order of their names by default.

    Raises:
        DataError: there is no such file or column, an image is missing, a cell is not readable, or the data has a
            label that the model does not have; the message names the file and the line.
    """
    config = config or DataConfig()
    place = Path(path)
    records = None if _has_boxes(place) else read_records(path, LABELS)
    if records is not None:
        names, entries, notes = _read_records(records)
        return _splits(place, records.storage, entries, _numbers(names, labels, path), config, notes)
    if is_dir(place) and not _is_detection(place):
        entries = _read_folders(place)
        names = {label for entry in entries for label in entry.labels}
        return _splits(place, FolderStorage(place), entries, _numbers(names, labels, path), config)
    if not exists(place):
        raise DataError(f"there is no {path}: give a CSV of file,labels, a folder per label, or COCO")
    return _of_objects(path, config, labels)


class _Numbers(NamedTuple):
    """The order of the targets: a model's labels, or the data's own by name.

    Attributes:
        labels: in the order of the targets.
        number: the target of each label of the data.
        note: how the data's labels were matched to the model's; "" where the names are equal.
        of_model: whether they are a model's, which is measured: no training images are needed.
    """

    labels: tuple[str, ...]
    number: dict[str, int]
    note: str = ""
    of_model: bool = False


def _numbers(names: Iterable[str], labels: tuple[str, ...] | None, path: str) -> _Numbers:
    own = tuple(sorted(names))
    require_text(own, path)
    if labels is None:
        return _Numbers(own, {name: index for index, name in enumerate(own)})
    match = match_classes(own, labels, path)
    return _Numbers(labels, dict(zip(own, match.index.tolist())), match.note, True)


def _splits(
    place: Path, storage: Storage, entries: Sequence[Entry], numbers: _Numbers, config: DataConfig,
    notes: tuple[str, ...] = (),
) -> DataSplits:  # fmt: skip
    labels, number, note, _ = numbers
    if not entries:
        raise DataError(f"{place} contains no images")
    if not labels:
        raise DataError(f"{place} has no image with a label")
    parts: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for entry, split in zip(entries, assign_splits([entry.split for entry in entries], config)):
        parts[split].append(entry)
    if not parts["train"] and not numbers.of_model:
        raise DataError(f"{place} has no training images")
    digest = hashlib.sha256()
    sizes = dict(zip(storage.names, storage.sizes))
    sources: dict[str, MultiLabelSource | None] = {}
    for split, part in parts.items():
        targets = np.zeros((len(part), len(labels)), dtype=bool)
        for row, entry in enumerate(part):
            targets[row, [number[label] for label in entry.labels]] = True
            line = f"{entry.name}\0{sizes[entry.name]}\0{sorted(entry.labels)}\0{split}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))  # as in file names that are not UTF-8
        names = [entry.name for entry in part]
        files = FileSource(storage, names, np.zeros(len(part), dtype=np.int64), (), config.max_pixels)
        sources[split] = MultiLabelSource(files, targets) if part or split == "train" else None
    train = sources["train"]
    assert train is not None
    notes = (*notes, note) if note else notes
    return DataSplits(train, sources["val"], sources["test"], labels, place.stem, digest.hexdigest(), notes)


# --------------------------------------------------------------------------------------------------------------- fields


def _read_records(records: Records) -> tuple[set[str], list[Entry], tuple[str, ...]]:
    """(all labels, also those of no image; the images; notes)."""
    columns = records.columns
    lists = [column for column in columns if any(isinstance(row.fields.get(column), list) for row in records.rows)]
    named = [column for column in LABEL_COLUMNS if column in columns]
    # A list of labels before a single one; of lists under other names only where there is one.
    label_column = next(iter([c for c in named if c in lists] or (lists if len(lists) == 1 else []) or named), None)
    binary = [c for c in columns if all(_flag(row.fields.get(c)) is not None for row in records.rows)]
    if label_column in (None, *binary) and binary:
        if len(binary) < len(columns):
            odd = next(column for column in columns if column not in binary)
            row = next(row for row in records.rows if _flag(row.fields.get(odd)) is None)
            raise DataError(f"{row.where}: the column {odd} must hold 0 or 1, not {row.fields.get(odd)!r}")
        cells = [frozenset(c for c in binary if _flag(row.fields.get(c))) for row in records.rows]
        names = set(binary)
    elif label_column is None:
        raise DataError(
            f"{records.origin} needs a column {' or '.join(LABEL_COLUMNS[:3])} of lists such as a;b, or a column of 0 "
            f"and 1 for each label; it has {', '.join([*records.file_columns, *columns])}"
        )
    else:
        cells = _label_lists(records, label_column)
        names = {*records.names_of(label_column)}.union(*cells) - {""}
    # An image whose class is not published has the label "".
    entries = [Entry(row.file, labels, row.split) for row, labels in zip(records.rows, cells) if "" not in labels]
    repeated = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
    hidden = len(records.rows) - len(entries)
    notes = (
        (*records.notes, f"skipped {hidden} images whose labels are not published (-1)") if hidden else records.notes
    )
    return names, _merged(records.origin, entries) if repeated else entries, notes


def _flag(value: Any) -> bool | None:
    """Whether a field marks a label as present; None if it is neither present nor absent."""
    return ZERO_ONE.get(str(value).lower())


def _label_lists(records: Records, column: str) -> list[frozenset[str]]:
    """The labels of each row: lists of names or of numbers, or texts such as a;b."""
    names = records.names_of(column)
    values = [row.fields.get(column) for row in records.rows]
    if any(isinstance(value, list) for value in values) or names:
        return [
            frozenset(class_name(label, names, row.where) for label in _as_list(value, column, row.where))
            for row, value in zip(records.rows, values)
        ]
    cells = ["" if value is None else str(value) for value in values]
    used = [separator for separator in SEPARATORS if any(separator in cell for cell in cells)]
    if len(used) > 1:
        raise DataError(
            f"{records.origin}: the column {column} has {' and '.join(map(repr, used))}; separate labels by one of "
            "them only"
        )
    if not used and any(" " in cell for cell in cells):
        row, cell = next((row, cell) for row, cell in zip(records.rows, cells) if " " in cell)
        raise DataError(
            f"{row.where}: {cell!r} can be one label or several; separate labels by ; or |, also where each image has "
            "only one (end one cell with ;)"
        )
    split = [cell.split(used[0]) if used else [cell] for cell in cells]
    return [frozenset(label.strip() for label in labels if label.strip()) for labels in split]


def _as_list(value: Any, column: str, where: str) -> list[Any]:
    if isinstance(value, dict):
        raise DataError(f"{where}: the column {column} must hold a list of labels, not an object")
    return value if isinstance(value, list) else [] if value in (None, "") else [value]


def _merged(origin: str, entries: Sequence[Entry]) -> list[Entry]:
    """One entry for each file: the rows of a table with one row a label."""
    merged: dict[str, Entry] = {}
    for entry in entries:
        before = merged.get(entry.name)
        if before is not None and before.split != entry.split:
            raise DataError(f"{origin}: {entry.name} is in two splits")
        labels = entry.labels | (before.labels if before else frozenset())
        merged[entry.name] = Entry(entry.name, labels, entry.split)
    return list(merged.values())


# -------------------------------------------------------------------------------------------------------------- folders


def _has_boxes(place: Path) -> bool:
    """Whether the metadata of a folder, or a table, has objects with boxes: the reader of detection data reads them."""
    files = (
        [place]
        if place.suffix.lower() == ".jsonl"
        else [*place.glob("metadata.jsonl"), *place.glob("*/metadata.jsonl")]
    )
    return any("objects" in row for file in files[:1] if file.is_file() for _, row in islice(read_objects(file, ""), 1))


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
    order, number, note, _ = _numbers(splits.classes, labels, path)

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
