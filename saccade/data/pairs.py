"""Images with captions: a CSV, TSV or JSONL of image and caption, a folder with one of them, tar shards, "scenes", or
"strips".

captions.csv with image,caption[,split]             paths relative to the file, or to images/ beside it; an image may
                                                    have many lines
captions.jsonl                                      {"image": "1.jpg", "caption": "a cat"}; the caption may be a list
shards/train-000000.tar …                           KEY.jpg beside KEY.txt (a caption a line) or KEY.json
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.builtin.scenes import scene_splits
from saccade.data.builtin.strips import strip_splits
from saccade.data.config import DataConfig
from saccade.data.image_folder import FILE_COLUMNS, SHARD_PATTERN, Entry, FileSource, fingerprint
from saccade.data.images import is_image_name
from saccade.data.samples import CaptionedImage, DataSplits
from saccade.data.splits import assign_splits, named_split
from saccade.data.storage import FolderStorage, Storage, TarStorage
from saccade.data.tables import DELIMITERS, read_lines, read_numbered_table, read_objects
from saccade.errors import DataError

TEXT_COLUMNS = ("caption", "text", "title", "sentence")
TABLES = ("captions.csv", "captions.tsv", "captions.jsonl")  # in a folder, the first that is there

Row = tuple[str, str, str]  # image, caption, split ("" if the data does not define it)


class CaptionFiles(FileSource):
    """Image files of a storage with their captions."""

    def __init__(self, storage: Storage, names: Sequence[str], captions: Sequence[tuple[str, ...]]):
        super().__init__(storage, names, np.zeros(len(names), dtype=np.int64), ())
        self._captions = captions

    def captions(self, index: int) -> tuple[str, ...]:
        return self._captions[index]

    def with_captions(self, index: int, channels: int = 3) -> CaptionedImage:
        return CaptionedImage(self.image(index, channels), self._captions[index])


def open_pairs(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open images with captions and split them by image, so that no image is in two splits.

    Args:
        path: a CSV, TSV or JSONL, a folder with one (``captions.csv``), a tar, a folder of tars, "scenes" or "strips".
        config: fractions and seed for splits that the data set does not define.

    Raises:
        DataError: there is no such file, a line has no image or no caption, or an image is missing.
    """
    config = config or DataConfig()
    if path == "scenes":
        return scene_splits(config.scenes)
    if path == "strips":
        return strip_splits(config.strips)
    place = Path(path)
    storage, rows = _read(place)
    if not rows:
        raise DataError(f"{path} contains no image with a caption")
    captions: dict[str, list[str]] = {}
    split_of: dict[str, str] = {}
    for name, caption, split in rows:
        if split_of.setdefault(name, split) != split:
            raise DataError(f"{path}: {name} is in two splits, {split_of[name] or 'none'} and {split or 'none'}")
        captions.setdefault(name, []).append(caption)
    entries: list[Entry] = [(name, "\n".join(texts), split_of[name]) for name, texts in captions.items()]
    splits = assign_splits([split for _, _, split in entries], config, strata=[""] * len(entries))

    def source(split: str) -> CaptionFiles | None:
        names = [name for (name, _, _), entry_split in zip(entries, splits) if entry_split == split]
        return CaptionFiles(storage, names, [tuple(captions[name]) for name in names]) if names else None

    train = source("train")
    if train is None:
        raise DataError(f"{path} has no training images")
    digest = fingerprint(storage, entries, splits)
    return DataSplits(train, source("val"), source("test"), (), place.stem, digest)


def has_captions(path: str) -> bool:
    """Whether the data at this path is images with captions rather than pairs of texts, by its name and its columns."""
    place = Path(path)
    if path in ("scenes", "strips") or place.is_dir() or place.suffix == ".tar":
        return True
    suffix = place.suffix.lower()
    if not place.is_file() or suffix not in (".csv", ".tsv", ".jsonl"):
        return False
    if suffix == ".jsonl":
        columns = next((set(row) for _, row in read_objects(place, "image and caption")), set())
    else:
        header = next((line for line in read_lines(place) if line.strip()), "")
        delimiter = max(DELIMITERS, key=header.count)
        columns = {name.strip().strip('"').lower() for name in header.split(delimiter)}
    return bool(columns & set(FILE_COLUMNS)) and bool(columns & set(TEXT_COLUMNS))


def _read(place: Path) -> tuple[Storage, list[Row]]:
    if not place.exists():
        raise DataError(f"there is no {place}: give a CSV or JSONL of image,caption, tar shards, or 'scenes'")
    if place.is_dir():
        shards = sorted(place.glob(SHARD_PATTERN))
        if shards:
            return _read_shards(shards)
        tables = [place / name for name in TABLES if (place / name).is_file()]
        if not tables:
            raise DataError(f"{place} has neither {', '.join(TABLES)} nor tar shards")
        place = tables[0]
    if place.suffix == ".tar":
        return _read_shards([place])
    if place.suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise DataError(f"{place} is not a .csv, .tsv, .jsonl or .tar of images and captions")
    rows = list(_table_rows(place))
    return FolderStorage(place.parent, sorted({name for name, _, _ in rows})), rows


def _table_rows(place: Path) -> Iterator[Row]:
    """Each image with each of its captions; every line is validated."""
    for number, row in _numbered_rows(place):
        where = f"{place}, line {number}"
        name = next((row[c] for c in FILE_COLUMNS if row.get(c)), None)
        captions = next((row[c] for c in TEXT_COLUMNS if row.get(c)), None)
        if not isinstance(name, str) or captions is None:
            raise DataError(f"{where}: image and caption are both required")
        split = str(row.get("split") or "").lower()
        if split and named_split(split) is None:
            raise DataError(f"{where}: {split!r} is not a split: use train, val or test")
        places = [f"{folder}{text}" for text in (name, name.replace("\\", "/")) for folder in ("", "images/")]
        path = next((p for p in places if (place.parent / p).is_file()), None)
        if path is None:
            raise DataError(f"{where}: there is no {name} beside the file, nor in images/")
        for caption in captions if isinstance(captions, list) else [captions]:
            if not isinstance(caption, str) or not caption.strip():
                raise DataError(f"{where}: a caption is empty or not a text")
            yield path, caption.strip(), named_split(split) or ""


def _numbered_rows(place: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if place.suffix.lower() != ".jsonl":
        columns, rows = read_numbered_table(place, ("image", "caption", "split"))
        if not set(FILE_COLUMNS) & set(columns) or not set(TEXT_COLUMNS) & set(columns):
            raise DataError(f"{place} needs the columns image and caption; it has {columns}")
        yield from rows
        return
    yield from read_objects(place, "image and caption")


def _read_shards(paths: list[Path]) -> tuple[Storage, list[Row]]:
    """The WebDataset layout: the caption beside the image, as text or in JSON."""
    storage = TarStorage(paths)
    members, rows = set(storage.names), []
    for name in storage.names:
        if not is_image_name(name):
            continue
        key = name.rsplit(".", 1)[0]
        split = named_split(name.split("/", 1)[0].split("-")[0]) or ""
        if f"{key}.txt" in members:
            texts = storage.read(f"{key}.txt").decode("utf-8", "replace").splitlines()
        elif f"{key}.json" in members:
            texts = _captions_in(storage.read(f"{key}.json"), f"{key}.json")
        else:
            raise DataError(f"{paths[0].parent}: {name} has no .txt or .json with its caption beside it")
        captions = [text.strip() for text in texts if text.strip()]
        if not captions:
            raise DataError(f"{paths[0].parent}: the caption of {name} is empty")
        rows += [(name, caption, split) for caption in captions]
    return storage, rows


def _captions_in(data: bytes, name: str) -> list[str]:
    try:
        content = json.loads(data)
        text = next(content[c] for c in TEXT_COLUMNS if c in content)
    except (ValueError, TypeError, StopIteration):
        raise DataError(f"{name} is not a JSON object with a caption") from None
    texts = text if isinstance(text, list) else [text]
    return [text for text in texts if isinstance(text, str)]
