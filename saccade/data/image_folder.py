"""Labelled images, opened in place and split: class folders, a CSV of file and label, a zip, or tar shards.

photos/cat/1.jpg, photos/dog/2.jpg                  one folder per class; split with a seed
photos/train/cat/1.jpg, photos/test/dog/2.jpg       one folder per split; val and test are optional
labels.csv with file,label[,split]                  paths relative to the CSV
photos.zip                                          either of the first two, read without unpacking
shards/train-000000.tar …                           written by `saccade data shard`
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from saccade.data.builtin.digits import digits_splits
from saccade.data.builtin.scenes import labelled_scenes
from saccade.data.config import DataConfig
from saccade.data.images import is_image_name, read_image
from saccade.data.samples import DataSplits
from saccade.data.splits import assign_splits, named_split
from saccade.data.storage import FolderStorage, Storage, TarStorage, ZipStorage
from saccade.data.tables import file_beside, read_numbered_table
from saccade.errors import DataError

CLASSES_FILE = "classes.json"  # beside shards: a JSON list of class names, in the order of their indices
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

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return read_image(self.data(index), channels=channels, name=f"{self.storage.path / self.names[index]}")

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
    storage, entries, classes = _read(place, labelled=True)
    if not entries:
        raise DataError(f"{path} contains no images: one folder per class was expected, with files such as 1.jpg")
    labels = sorted({label for _, label, _ in entries})
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
    return _data_splits(place, storage, [class_index[label] for _, label, _ in entries], classes, entries, splits)


def _refuse_untrainable(path: str, entries: Sequence[Entry], splits: Sequence[str], classes: tuple[str, ...]) -> None:
    """Raise DataError for one class, no training images, or a class without training images."""
    if len(classes) < 2:
        raise DataError(
            f"{path} has a single class ({classes[0]}), and a classifier needs at least two to learn: add images of "
            "another class; `saccade evaluate` measures a trained model on one"
        )
    if "train" not in splits:
        raise DataError(f"{path} has {', '.join(sorted(set(splits)))}, but no train split: `saccade evaluate` opens it")
    trained = {label for (_, label, _), split in zip(entries, splits) if split == "train"}
    missing = [name for name in classes if name not in trained]
    if missing:
        raise DataError(f"{path}: no training images of {', '.join(missing[:10])}: add some, or remove the class")


def open_unlabelled(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open images without labels: all files below a folder, in a zip, in tars; labels are all 0.

    Images that :func:`open_data` can open are split as there, so that images held out there are held out here.

    Raises:
        DataError: there is no such file, or no images.
    """
    config = config or DataConfig()
    if path == "digits":
        return digits_splits()
    place = Path(path)
    storage, entries, _ = _read(place, labelled=False)
    if not entries:
        raise DataError(f"{path} contains no images")
    splits = _assign_splits(entries, config)
    if "train" not in splits:
        raise DataError(f"{path} has no training images")
    return _data_splits(place, storage, [0] * len(entries), ("image",), entries, splits)


def _assign_splits(entries: Sequence[Entry], config: DataConfig) -> list[str]:
    return assign_splits([split for _, _, split in entries], config, strata=[label for _, label, _ in entries])


def _data_splits(
    place: Path, storage: Storage, labels: list[int], classes: tuple[str, ...], entries: Sequence[Entry],
    splits: Sequence[str],
) -> DataSplits:  # fmt: skip
    def source(split: str) -> FileSource:
        indices = [i for i, entry_split in enumerate(splits) if entry_split == split]
        split_labels = np.array([labels[i] for i in indices], dtype=np.int64)
        return FileSource(storage, [entries[i][0] for i in indices], split_labels, classes)

    digest = fingerprint(storage, entries, splits)
    notes = () if isinstance(storage, TarStorage) else _notes(storage, entries)
    train, val, test = source("train"), source("val"), source("test")
    return DataSplits(train, val if len(val) else None, test if len(test) else None, classes, place.stem, digest, notes)


def _read(place: Path, *, labelled: bool) -> tuple[Storage, list[Entry], tuple[str, ...]]:
    """(storage, entries, class names if the data defines their order). Unless `labelled`, images may be anywhere."""
    if not place.exists():
        raise DataError(f"there is no {place}: give a folder of class folders, a CSV, a zip, tar shards, or 'digits'")
    suffix = place.suffix.lower()
    if place.is_dir():
        shards = sorted(place.glob(SHARD_PATTERN))
        if shards:
            return _read_shards(shards, labelled)
        storage: Storage = FolderStorage(place)
        entries = _folder_entries(storage, place, labelled)
        return storage, entries, _class_folders(place, entries) if labelled else ()
    if suffix in (".csv", ".tsv"):
        return _read_csv(place)
    if suffix == ".zip":
        storage = ZipStorage(place)
        return storage, _folder_entries(storage, place, labelled), ()
    if suffix == ".tar":
        return _read_shards([place], labelled)
    raise DataError(f"{place} is neither a folder nor a .csv, .tsv, .zip or .tar")


def _folder_entries(storage: Storage, place: Path, labelled: bool) -> list[Entry]:
    """Entries with the label of their folder, below a common outer folder if there is one (as in many zips)."""
    names = [name for name in storage.names if is_image_name(name)]
    parts = [name.split("/") for name in names]
    # A common outer folder is not a class: skip it as long as everything is in one folder of folders.
    tops = {p[0] for p in parts}
    while len(tops) == 1 and not any(map(named_split, tops)) and all(len(p) > 2 for p in parts):
        parts = [p[1:] for p in parts]
        tops = {p[0] for p in parts}
    loose = [name for name, p in zip(names, parts) if len(p) == 1]
    are_splits = bool(tops) and all(map(named_split, tops))
    if not labelled and (loose or are_splits or not tops):
        return [(name, "", (named_split(p[0]) or "") if len(p) > 1 else "") for name, p in zip(names, parts)]
    if loose:
        raise DataError(
            f"{place}: {len(loose)} images are in no class folder, such as {loose[0]}: move each into the folder of "
            "its class, or give a CSV of file,label"
        )
    if are_splits and all(len(p) > 2 for p in parts):
        return [(name, p[1], named_split(p[0]) or "") for name, p in zip(names, parts)]
    if labelled:
        _refuse_other_layouts(storage, place, parts, are_splits)
    return [(name, p[0], "") for name, p in zip(names, parts)]


# Folders of images beside others of boxes, masks or depth maps.
LAYOUT_FOLDERS = {"images", "labels", "masks", "depth", "annotations", "annotation", "jpegimages"}
OTHER_TASKS = "--task detection reads boxes, --task segmentation masks, --task depth depth maps"


def _refuse_other_layouts(storage: Storage, place: Path, parts: Sequence[Sequence[str]], are_splits: bool) -> None:
    """Folders of splits, and of images beside boxes or maps, are not classes."""
    tops = sorted({p[0] for p in parts})
    if are_splits:
        raise DataError(
            f"{place}: the images in {', '.join(tops)} are in no class folders: a CSV of file,label names the "
            f"classes; {OTHER_TASKS}"
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
    """The layout, and the files that are not read, by their suffixes."""
    splits = sorted({split for _, _, split in entries if split})
    notes = [f"splits of the data itself: {', '.join(splits)}"] if splits else []
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


def _read_csv(place: Path) -> tuple[Storage, list[Entry], tuple[str, ...]]:
    columns, rows = read_numbered_table(place, ("file", "label", "split"))
    file_column = next((c for c in FILE_COLUMNS if c in columns), None)
    label_column = next((c for c in ("label", "class", "class_name") if c in columns), None)
    if file_column is None or label_column is None:
        raise DataError(f"{place} needs the columns file and label (and split, if it has one); it has {columns}")
    entries: list[Entry] = []
    for number, row in rows:
        name, label, split = row.get(file_column, ""), row.get(label_column, ""), row.get("split", "").lower()
        if not name or not label:
            raise DataError(f"{place}, line {number}: file and label are both required")
        if split and named_split(split) is None:
            raise DataError(f"{place}, line {number}: {split!r} is not a split: use train, val or test")
        file = file_beside(place, name)
        if file is None:
            raise DataError(f"{place}, line {number}: there is no {name} in the folder of the CSV")
        entries.append((file, label, named_split(split) or ""))
    return FolderStorage(place.parent, [name for name, _, _ in entries]), entries, ()


def _read_shards(paths: list[Path], labelled: bool) -> tuple[Storage, list[Entry], tuple[str, ...]]:
    """The WebDataset layout: KEY.jpg beside KEY.cls, the class as an index or a name."""
    storage = TarStorage(paths)
    names_file = paths[0].parent / CLASSES_FILE
    classes: tuple[str, ...] = ()
    if names_file.is_file():
        try:
            classes = tuple(str(name) for name in json.loads(names_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{names_file} must be a JSON list of class names: {error}") from None
    members = set(storage.names)
    entries: list[Entry] = []
    for name in storage.names:
        if not is_image_name(name):
            continue
        label_name = name.rsplit(".", 1)[0] + ".cls"
        shard = name.split("/", 1)[0]
        split = named_split(shard.split("-")[0]) or ""
        if label_name not in members and not labelled:
            entries.append((name, "", split))
            continue
        if label_name not in members:
            raise DataError(f"{paths[0].parent}: {name} has no {label_name.rsplit('/', 1)[1]} with its class")
        label = storage.read(label_name).decode("utf-8", "replace").strip()
        if classes and label.isdecimal():
            if int(label) >= len(classes):
                raise DataError(f"{label_name} has class {label}, but {CLASSES_FILE} has {len(classes)} names")
            label = classes[int(label)]
        entries.append((name, label, split))
    return storage, entries, classes


def fingerprint(storage: Storage, entries: Sequence[Entry], splits: Sequence[str]) -> str:
    """A digest of the size, the label and the split of every file."""
    sizes = dict(zip(storage.names, storage.sizes))
    digest = hashlib.sha256()
    for (name, label, _), split in zip(entries, splits):
        digest.update(f"{name}\0{sizes[name]}\0{label}\0{split}\n".encode())
    return digest.hexdigest()
