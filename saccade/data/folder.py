"""Open a data set where it lies and cut it in three: class folders, a CSV of file and label, a zip, or tar shards.

photos/cat/1.jpg, photos/dog/2.jpg                  one folder a class; split by seed
photos/train/cat/1.jpg, photos/test/dog/2.jpg       splits of its own; any of val and test may be missing
labels.csv with file,label[,split]                  paths relative to the CSV
photos.zip                                          any of the first two, read in place
shards/train-000000.tar …                           written by `saccade data shard`
"""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.data.builtin.digits import digits_splits
from saccade.data.builtin.scenes import labelled_scenes
from saccade.data.config import DataConfig
from saccade.data.images import is_image_name, read_image
from saccade.data.samples import DataSplits
from saccade.data.storage import FolderStorage, Storage, TarStorage, ZipStorage
from saccade.errors import DataError

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
CLASSES_FILE = "classes.json"  # beside shards: the class names in the order of their numbers
SHARD_PATTERN = "*.tar"
FILE_COLUMNS = ("file", "filename", "path", "image", "filepath")


class FileSource:
    """Labelled image files of a storage."""

    def __init__(self, storage: Storage, names: Sequence[str], labels: np.ndarray, classes: tuple[str, ...]):
        self.storage = storage
        self.names = names
        self.labels = labels
        self.classes = classes

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Image.Image:
        return read_image(self.data(index), name=f"{self.storage.path / self.names[index]}")

    def data(self, index: int) -> bytes:
        return self.storage.read(self.names[index])


# A file as found: name in its storage, label, split ("" where the data does not say).
Entry = tuple[str, str, str]


def open_data(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open labelled images and split them.

    Args:
        path: "digits", "scenes" (of one digit each), a folder, a CSV, a zip, a tar, or a folder of tars.
        config: fractions and seed of the splits that the data does not have of its own.

    Raises:
        DataError: nothing there, no images, fewer than two classes, or a class with nothing to train on.
    """
    config = config or DataConfig()
    if path == "digits":
        return digits_splits()
    if path == "scenes":
        return labelled_scenes(config.scenes)
    place = Path(path)
    storage, entries, classes = _find(place, labelled=True)
    if not entries:
        raise DataError(f"{path} holds no images: one folder a class was expected, with files such as 1.jpg inside")
    found = sorted({label for _, label, _ in entries})
    classes = classes if classes else tuple(found)
    if len(classes) < 2:
        raise DataError(f"{path} has one class only ({found[0]}): to learn to tell apart takes two folders at least")
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise DataError(f"{path}: the label {unknown[0]!r} is not among the classes {', '.join(classes[:10])}")
    splits = assign_splits(entries, config)
    missing = [c for c in classes if not any(label == c and s == "train" for (_, label, _), s in zip(entries, splits))]
    if missing:
        raise DataError(f"{path}: no images to train on of {', '.join(missing[:10])}: add some, or remove the class")
    number = {name: i for i, name in enumerate(classes)}
    return _cut(place, storage, [number[label] for _, label, _ in entries], classes, entries, splits)


def open_unlabelled(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open images whatever they show: all files below a folder, in a zip, in tars; labels are all 0.

    Images that are labelled for :func:`open_data` are split as there, so that what is held out there is held out here.

    Raises:
        DataError: nothing there, or no images.
    """
    config = config or DataConfig()
    if path == "digits":
        return digits_splits()
    place = Path(path)
    storage, entries, _ = _find(place, labelled=False)
    if not entries:
        raise DataError(f"{path} holds no images")
    splits = assign_splits(entries, config)
    return _cut(place, storage, [0] * len(entries), ("image",), entries, splits)


def _cut(
    place: Path, storage: Storage, labels: list[int], classes: tuple[str, ...], entries: Sequence[Entry],
    splits: Sequence[str],
) -> DataSplits:  # fmt: skip
    def source(split: str) -> FileSource | None:
        chosen = [(name, label) for (name, _, _), label, s in zip(entries, labels, splits) if s == split]
        if not chosen:
            return None
        names, numbers = zip(*chosen)
        return FileSource(storage, list(names), np.array(numbers, dtype=np.int64), classes)

    train = source("train")
    if train is None:
        raise DataError(f"{place} has no training images")
    return DataSplits(train, source("val"), source("test"), classes, place.stem, fingerprint(storage, entries, splits))


def assign_splits(entries: Sequence[Entry], config: DataConfig) -> list[str]:
    """The split of each entry: its own, or a seeded one in which every class keeps its share.

    Test images are cut where the data names no test split, validation images where it names no val split; both from
    what would be trained on. A class keeps at least one image to train on.
    """
    given = {split for _, _, split in entries}
    splits = [split or "train" for _, _, split in entries]
    cuts = [("test", config.test_fraction), ("val", config.val_fraction)]
    wanted = [(name, share) for name, share in cuts if name not in given and not (name == "test" and "val" in given)]
    by_class: dict[str, list[int]] = {}
    for index, (_, label, _) in enumerate(entries):
        if splits[index] == "train":
            by_class.setdefault(label, []).append(index)
    for label in sorted(by_class):
        digest = hashlib.sha256(f"{config.split_seed}/{label}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        left = list(generator.permutation(by_class[label]))
        total = len(left)
        for name, share in wanted:
            count = min(round(share * total), len(left) - 1)
            for index in left[: max(count, 0)]:
                splits[index] = name
            left = left[max(count, 0) :]
    return splits


def _find(place: Path, *, labelled: bool) -> tuple[Storage, list[Entry], tuple[str, ...]]:
    """(storage, entries, class names where the data numbers them). Unless `labelled`, images may lie anywhere."""
    if not place.exists():
        raise DataError(f"there is no {place}: give a folder of class folders, a CSV, a zip, tar shards, or 'digits'")
    suffix = place.suffix.lower()
    if place.is_dir():
        shards = sorted(place.glob(SHARD_PATTERN))
        if shards:
            return _find_in_shards(shards, labelled)
        storage: Storage = FolderStorage(place)
        entries = _by_folder(storage, place, labelled)
        return storage, entries, _class_folders(place, entries) if labelled else ()
    if suffix == ".csv":
        return _find_in_csv(place)
    if suffix == ".zip":
        storage = ZipStorage(place)
        return storage, _by_folder(storage, place, labelled), ()
    if suffix == ".tar":
        return _find_in_shards([place], labelled)
    raise DataError(f"{place} is neither a folder nor a .csv, .zip or .tar")


def _by_folder(storage: Storage, place: Path, labelled: bool) -> list[Entry]:
    """Entries by their folders, below a common outer folder if there is one (zips often have it)."""
    names = [name for name in storage.names if is_image_name(name)]
    parts = [name.split("/") for name in names]
    # A common outer folder is no class: go down as long as everything lies in one folder of folders.
    tops = {p[0] for p in parts}
    while len(tops) == 1 and not tops & set(SPLIT_NAMES) and all(len(p) > 2 for p in parts):
        parts = [p[1:] for p in parts]
        tops = {p[0] for p in parts}
    loose = [name for name, p in zip(names, parts) if len(p) == 1]
    if not labelled and (loose or tops <= set(SPLIT_NAMES)):
        return [(name, "", SPLIT_NAMES.get(p[0], "") if len(p) > 1 else "") for name, p in zip(names, parts)]
    if loose:
        raise DataError(
            f"{place}: {len(loose)} images lie in no class folder, such as {loose[0]}: put each into the folder of its "
            "class, or give a CSV of file,label"
        )
    if tops and tops <= set(SPLIT_NAMES) and all(len(p) > 2 for p in parts):
        if "train" not in {SPLIT_NAMES[top] for top in tops}:
            raise DataError(f"{place} has {', '.join(sorted(tops))}, and no train folder beside")
        return [(name, p[1], SPLIT_NAMES[p[0]]) for name, p in zip(names, parts)]
    return [(name, p[0], "") for name, p in zip(names, parts)]


def _class_folders(place: Path, entries: Sequence[Entry]) -> tuple[str, ...]:
    """The names of all class folders, also of those without an image, which would otherwise not be missed."""
    has_splits = any(split for _, _, split in entries)
    bases = [p for p in place.iterdir() if p.is_dir() and p.name in SPLIT_NAMES] if has_splits else [place]
    folders = {p.name for base in bases for p in base.iterdir() if p.is_dir() and not p.name.startswith(".")}
    labels = {label for _, label, _ in entries}
    return tuple(sorted(folders)) if labels <= folders else tuple(sorted(labels))


def read_table(place: Path) -> tuple[list[str], list[dict[str, str]]]:
    """(columns, rows by column) of a CSV, or of a TSV by its name.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open(place, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t" if place.suffix.lower() == ".tsv" else ",")
            columns = [c.strip().lower() for c in reader.fieldnames or []]
            return columns, [
                {c: (v or "").strip() for c, v in zip(columns, row.values()) if isinstance(v, str | None)}
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place} is not a readable table: {error}") from None


def read_lines(place: Path) -> list[str]:
    """The lines of a text file; raises DataError where it cannot be read."""
    try:
        return place.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place} is no readable text: {error}") from None


def read_objects(place: Path, wanted: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The numbered lines of a JSONL, each an object that should hold what is `wanted`; empty ones are passed over.

    Raises:
        DataError: a line is no object.
    """
    for number, line in enumerate(read_lines(place), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{place}, line {number} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}, line {number}: an object with {wanted} was expected")
        yield number, row


def _find_in_csv(place: Path) -> tuple[Storage, list[Entry], tuple[str, ...]]:
    columns, rows = read_table(place)
    file_column = next((c for c in FILE_COLUMNS if c in columns), None)
    label_column = next((c for c in ("label", "class", "class_name") if c in columns), None)
    if file_column is None or label_column is None:
        raise DataError(f"{place} needs the columns file and label (and split, if it has one); it has {columns}")
    entries: list[Entry] = []
    for number, row in enumerate(rows, 2):
        name, label, split = row.get(file_column, ""), row.get(label_column, ""), row.get("split", "").lower()
        if not name or not label:
            raise DataError(f"{place}, line {number}: file and label must both be there")
        if split and split not in SPLIT_NAMES:
            raise DataError(f"{place}, line {number}: {split!r} is no split; write train, val or test")
        if not (place.parent / name).exists():
            raise DataError(f"{place}, line {number}: there is no {name} beside the CSV")
        entries.append((name, label, SPLIT_NAMES.get(split, "")))
    return FolderStorage(place.parent, [name for name, _, _ in entries]), entries, ()


def _find_in_shards(paths: list[Path], labelled: bool) -> tuple[Storage, list[Entry], tuple[str, ...]]:
    """WebDataset's layout: KEY.jpg and KEY.cls side by side, the class as a number or a name."""
    storage = TarStorage(paths)
    names_file = paths[0].parent / CLASSES_FILE
    classes: tuple[str, ...] = ()
    if names_file.is_file():
        try:
            classes = tuple(str(name) for name in json.loads(names_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{names_file} must hold a JSON list of class names: {error}") from None
    known = set(storage.names)
    entries: list[Entry] = []
    for name in storage.names:
        if not is_image_name(name):
            continue
        label_name = name.rsplit(".", 1)[0] + ".cls"
        shard = name.split("/", 1)[0]
        split = SPLIT_NAMES.get(shard.split("-")[0].lower(), "")
        if label_name not in known and not labelled:
            entries.append((name, "", split))
            continue
        if label_name not in known:
            raise DataError(f"{paths[0].parent}: {name} has no {label_name.rsplit('/', 1)[1]} beside it")
        label = storage.read(label_name).decode("utf-8", "replace").strip()
        if classes and label.isdecimal():
            if int(label) >= len(classes):
                raise DataError(f"{label_name} says class {label}, but {CLASSES_FILE} has {len(classes)} names")
            label = classes[int(label)]
        entries.append((name, label, split))
    return storage, entries, classes


def fingerprint(storage: Storage, entries: Sequence[Entry], splits: Sequence[str]) -> str:
    """Changes when a file's size, its label or its split does."""
    sizes = dict(zip(storage.names, storage.sizes))
    digest = hashlib.sha256()
    for (name, label, _), split in zip(entries, splits):
        digest.update(f"{name}\0{sizes[name]}\0{label}\0{split}\n".encode())
    return digest.hexdigest()
