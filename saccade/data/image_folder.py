"""Labelled images, opened in place and split: class folders, a table of file and label, a zip, data sets with fields.

photos/cat/1.jpg, photos/dog/2.jpg                  one folder per class; split with a seed
photos/train/cat/1.jpg, photos/test/dog/2.jpg       one folder per split; val and test are optional
tiny-imagenet-200/val/val_annotations.txt           Tiny-ImageNet, with the names of words.txt
photos.zip                                          any of these, read without unpacking
labels.csv, metadata.jsonl, Parquet, tars           see saccade.data.records
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from saccade.data.builtin.digits import digits_splits
from saccade.data.builtin.scenes import labelled_scenes
from saccade.data.config import DataConfig
from saccade.data.images import MAX_PIXELS, image_names, read_image
from saccade.data.jpeg import read_pixels
from saccade.data.record_types import Records, class_name
from saccade.data.records import Target, read_records
from saccade.data.samples import DataSplits, require_text
from saccade.data.splits import assign_splits, named_split
from saccade.data.storage import FolderStorage, Storage, TarStorage, ZipStorage
from saccade.data.tiny_imagenet import tiny_imagenet_entries
from saccade.errors import DataError, ImageError
from saccade.files import exists, is_dir

CONTENT_FILES = 256  # files of a data set whose content is in its fingerprint

LABEL = Target(
    "label",
    (
        "class",
        "class_name",
        "cls",
        "label_name",
        "class_label",
        "labels",
        "category",
        "category_name",
        "target",
        "fine_label",
        "class_index",
        "class_id",
        "txt",
    ),
    suffixes=("cls", "cls.txt"),
)
FEW_TEXTS = 0.5  # texts beside images are classes where they are fewer than this fraction of the images


class FileSource:
    """Labelled image files of a storage.

    Args:
        storage: storage of the files.
        names: names of the files in it.
        labels: ``[len(names)]`` int64, an index into `classes`.
        classes: their names.
        max_pixels: larger images are refused; None for Pillow's limit.
    """

    def __init__(
        self,
        storage: Storage,
        names: Sequence[str],
        labels: np.ndarray,
        classes: tuple[str, ...],
        max_pixels: int | None = None,
    ):
        self.storage = storage
        self.max_pixels = max_pixels or MAX_PIXELS
        self.names = names
        self.labels = labels
        self.classes = classes

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        name = f"{self.storage.path / self.names[index]}"
        return read_image(self.data(index), channels=channels, name=name, max_pixels=self.max_pixels)

    def pixels(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        name = f"{self.storage.path / self.names[index]}"
        return read_pixels(self.data(index), channels=channels, name=name, max_pixels=self.max_pixels)

    def data(self, index: int) -> bytes:
        return self.storage.read(self.names[index])


# Name in the storage, label, split ("" if the data does not define it).
Entry = tuple[str, str, str]


def open_data(path: str, config: DataConfig | None = None, *, for_training: bool = True) -> DataSplits:
    """Open labelled images and split them.

    Args:
        path: "digits", "scenes" (of one digit each), a folder, a CSV, a zip, a tar, or a folder of tars.
        config: fractions and seed for splits that the data set does not define.
        for_training: False to measure a model on the data: one class is enough, no class needs training images, and
            `train` may be empty.

    Raises:
        DataError: there is no such file, no images, or a label that is not one of the data's classes; for training
            also fewer than two classes, or a class without training images.
    """
    config = config or DataConfig()
    if path == "digits":
        return digits_splits(config.digits.val)
    if path == "scenes":
        return labelled_scenes(config.scenes)
    place = Path(path)
    storage, entries, classes, notes = _read(path, labelled=True)
    if not entries:
        raise DataError(f"{path} contains no images: one folder per class was expected, with files such as 1.jpg")
    labels = sorted({label for _, label, _ in entries})
    require_text(labels, path)
    classes = classes if classes else tuple(labels)
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise DataError(f"{path}: the label {unknown[0]!r} is not one of the classes {', '.join(classes[:10])}")
    splits = _assign_splits(entries, config)
    if for_training:
        _refuse_untrainable(path, entries, splits, classes)
    else:
        classes = tuple(name for name in classes if name in labels)
    class_index = {name: i for i, name in enumerate(classes)}
    numbers = [class_index[label] for _, label, _ in entries]
    return _data_splits(place, storage, numbers, classes, entries, splits, notes, config.max_pixels)


def _refuse_untrainable(path: str, entries: Sequence[Entry], splits: Sequence[str], classes: tuple[str, ...]) -> None:
    """Raise DataError for one class, no training images, or a class without training images."""
    if len(classes) < 2:
        raise DataError(
            f"{path} has a single class ({', '.join(classes)}), and a classifier needs at least two to learn: add "
            "images of another class; `saccade evaluate` measures a trained model on one"
        )
    if "train" not in splits:
        raise DataError(f"{path} has {', '.join(sorted(set(splits)))}, but no train split: `saccade evaluate` opens it")
    trained = {label for (_, label, _), split in zip(entries, splits) if split == "train"}
    missing = [name for name in classes if name not in trained]
    if missing:
        raise DataError(f"{path}: no training images of {', '.join(missing[:10])}: add some, or remove the class")


def open_unlabelled(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open images without labels: all files below a folder, in a zip, in tars; labels are all 0.

    Images that :func:`open_data` can open are split in the same way, so that the same images are held out.

    Raises:
        DataError: there is no such file, or no images.
    """
    config = config or DataConfig()
    if path == "digits":
        return digits_splits()
    place = Path(path)
    storage, entries, _, notes = _read(path, labelled=False)
    if not entries:
        raise DataError(f"{path} contains no images")
    splits = _assign_splits(entries, config)
    if "train" not in splits:
        raise DataError(f"{path} has no training images")
    return _data_splits(place, storage, [0] * len(entries), ("image",), entries, splits, notes, config.max_pixels)


def _assign_splits(entries: Sequence[Entry], config: DataConfig) -> list[str]:
    return assign_splits([split for _, _, split in entries], config, strata=[label for _, label, _ in entries])


def _data_splits(
    place: Path, storage: Storage, labels: list[int], classes: tuple[str, ...], entries: Sequence[Entry],
    splits: Sequence[str], notes: tuple[str, ...], max_pixels: int | None,
) -> DataSplits:  # fmt: skip
    def source(split: str) -> FileSource:
        indices = [i for i, entry_split in enumerate(splits) if entry_split == split]
        split_labels = np.array([labels[i] for i in indices], dtype=np.int64)
        return FileSource(storage, [entries[i][0] for i in indices], split_labels, classes, max_pixels)

    digest = fingerprint(storage, entries, splits)
    own = ", ".join(sorted({split for _, _, split in entries if split}))
    notes = (f"splits of the data itself: {own}", *notes) if own else notes
    train, val, test = source("train"), source("val"), source("test")
    name = place.stem.split("{")[0].rstrip("-_") or "data"  # of a pattern with braces what is before them
    return DataSplits(train, val if len(val) else None, test if len(test) else None, classes, name, digest, notes)


class _Labelled(NamedTuple):
    """Output of a reader.

    Attributes:
        storage: the images.
        entries: in the order of the data.
        classes: class names, if the data defines their order.
        notes: messages on recognised and ignored files.
    """

    storage: Storage
    entries: list[Entry]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def _read(path: str, *, labelled: bool) -> _Labelled:
    """Read the data at a path. Unless `labelled`, images may be anywhere."""
    records = read_records(path, LABEL)
    place = Path(path)
    if records is not None and not (is_dir(place) and _in_class_folders(records)):
        return _record_entries(records, labelled)
    if not exists(place):
        raise DataError(f"there is no {place}: give a folder of class folders, a CSV, a zip, tar shards, or 'digits'")
    if is_dir(place):
        storage: Storage = FolderStorage(place)
        entries, notes = _folder_entries(storage, place, labelled)
        classes = _class_folders(place, entries) if labelled and not notes else ()
        return _Labelled(storage, entries, classes, (*notes, *_notes(storage, entries)))
    if place.suffix.lower() == ".zip":
        storage = ZipStorage(place)
        entries, notes = _folder_entries(storage, place, labelled)
        return _Labelled(storage, entries, (), (*notes, *_notes(storage, entries)))
    raise DataError(f"{place} is neither a folder nor a .csv, .tsv, .jsonl, .zip, .tar, .parquet or .arrow")


def _in_class_folders(records: Records) -> bool:
    """Whether metadata next to class folders has other fields than classes, such as captions."""
    if {LABEL.name, *LABEL.columns} & set(records.columns) or isinstance(records.storage, TarStorage):
        return False
    folders = [[part for part in row.file.split("/")[:-1] if named_split(part) is None] for row in records.rows]
    return bool(folders) and isinstance(records.storage, FolderStorage) and all(folders)


def _record_entries(records: Records, labelled: bool) -> _Labelled:
    """Images with the class in their fields."""
    try:
        column = LABEL.column(records)
    except DataError:
        if labelled:
            raise
        return _Labelled(records.storage, [(row.file, "", row.split) for row in records.rows], (), records.notes)
    names, notes = records.names_of(column), list(records.notes)
    if column not in (LABEL.name, *LABEL.columns):
        notes.append(f"classes are those of the column {column}")
    entries: list[Entry] = []
    for row in records.rows:
        label = class_name(row.fields.get(column), names, row.where) if column in row.fields or labelled else ""
        if label or not labelled:
            entries.append((row.file, label, row.split))
    if len(entries) < len(records.rows):
        notes.append(f"skipped {len(records.rows) - len(entries)} images whose class is not published (-1)")
    classes = {label for _, label, _ in entries}
    if labelled and column == "txt" and len(classes) > FEW_TEXTS * len(entries):
        raise DataError(
            f"{records.origin}: {len(entries)} images have {len(classes)} different texts, which are captions rather "
            "than classes: --task contrastive learns them"
        )
    return _Labelled(records.storage, entries, names, tuple(notes))


def _folder_entries(storage: Storage, place: Path, labelled: bool) -> tuple[list[Entry], tuple[str, ...]]:
    """(entries with their folder as label, notes); a common outer folder, as in many zips, is skipped."""
    names = image_names(storage.names)
    parts = [name.split("/") for name in names]
    # A common outer folder is not a class: skip it as long as everything is in one folder of folders.
    tops = {p[0] for p in parts}
    while len(tops) == 1 and not any(map(named_split, tops)) and all(len(p) > 2 for p in parts):
        parts = [p[1:] for p in parts]
        tops = {p[0] for p in parts}
    loose = [name for name, p in zip(names, parts) if len(p) == 1]
    are_splits = bool(tops) and all(map(named_split, tops))
    annotated = tiny_imagenet_entries(storage, names, parts)
    if annotated is not None:
        return annotated
    if not labelled and (loose or are_splits or not tops):
        return [(name, "", (named_split(p[0]) or "") if len(p) > 1 else "") for name, p in zip(names, parts)], ()
    if loose:
        raise DataError(
            f"{place}: {len(loose)} images are in no class folder, such as {loose[0]}: move each into the folder of "
            "its class, or give a CSV of file,label"
        )
    if are_splits and all(len(p) > 2 for p in parts):
        return [(name, p[1], named_split(p[0]) or "") for name, p in zip(names, parts)], ()
    if labelled:
        loose = [name for name, p in zip(names, parts) if len(p) < 3] if are_splits else []
        _refuse_other_layouts(storage, place, parts, loose)
    return [(name, p[0], "") for name, p in zip(names, parts)], ()


# Folders of images beside others of boxes, masks or depth maps.
LAYOUT_FOLDERS = {"images", "labels", "masks", "depth", "annotations", "annotation", "jpegimages"}
OTHER_TASKS = "--task detection reads boxes, --task segmentation masks, --task depth depth maps"


def _refuse_other_layouts(storage: Storage, place: Path, parts: Sequence[Sequence[str]], loose: Sequence[str]) -> None:
    """Raise DataError for folders that are not classes: splits with images outside of class folders (`loose`), and
    images next to boxes or maps."""
    tops = sorted({p[0] for p in parts})
    if loose:
        raise DataError(
            f"{place}: {len(loose)} of the images in {', '.join(tops)} are in no class folders, such as {loose[0]}: a "
            f"CSV of file,label names the classes; {OTHER_TASKS}"
        )
    folders = {name.split("/", 1)[0].lower() for name in storage.names if "/" in name}
    if folders & LAYOUT_FOLDERS or any(name.endswith("_annotations.coco.json") for name in storage.names):
        raise DataError(
            f"{place} has the folders {', '.join(sorted(folders)[:5])}, which are not those of classes: {OTHER_TASKS}"
        )
    # Two folders with the same class folders in each are splits under names that are not known here.
    inner = {top: {p[1] for p in parts if p[0] == top and len(p) > 2} for top in tops}
    common = set.intersection(*inner.values()) if len(inner) > 1 else set()
    if len(common) > 1:
        raise DataError(
            f"{place}: {', '.join(tops[:5])} have the same folders ({', '.join(sorted(common)[:5])}) in them, so that "
            "they are splits rather than classes: rename them to train, val and test"
        )


def _notes(storage: Storage, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Notes on files that are not read, by suffix."""
    notes = []
    images = {name for name, _, _ in entries}
    others = Counter(Path(name).suffix.lower() or Path(name).name for name in storage.names if name not in images)
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(8))
        example = next(name for name in storage.names if name not in images)
        notes.append(f"skipped {sum(others.values())} files that are not read as images: {listed}; such as {example}")
    return tuple(notes)


def _class_folders(place: Path, entries: Sequence[Entry]) -> tuple[str, ...]:
    """The names of all class folders, including empty ones, whose class has no training images."""
    has_splits = any(split for _, _, split in entries)
    bases = [p for p in place.iterdir() if p.is_dir() and named_split(p.name)] if has_splits else [place]
    folders = {
        p.name for base in bases for p in base.iterdir() if p.is_dir() and not p.name.startswith((".", "@", "__"))
    }
    labels = {label for _, label, _ in entries}
    return tuple(sorted(folders)) if labels <= folders else tuple(sorted(labels))


def fingerprint(storage: Storage, entries: Sequence[Entry], splits: Sequence[str]) -> str:
    """A digest of the size, the label and the split of every file; after a colon, a digest of the content of some
    files.

    Up to 256 files, evenly spaced, are read: all images of a small data set.
    """
    sizes = dict(zip(storage.names, storage.sizes))
    digest = hashlib.sha256()
    for (name, label, _), split in zip(entries, splits):
        digest.update(f"{name}\0{sizes[name]}\0{label}\0{split}\n".encode("utf-8", "surrogateescape"))
    content = hashlib.sha256()
    names = sorted(name for name, _, _ in entries)
    for name in names[:: max(1, math.ceil(len(names) / CONTENT_FILES))]:
        try:
            content.update(hashlib.sha256(storage.read(name)).digest())
        except ImageError:  # one that cannot be read is reported where it is used
            content.update(b"unreadable")
    return f"{digest.hexdigest()}:{content.hexdigest()}"
