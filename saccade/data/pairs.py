"""Images with captions: a table or JSONL of image and caption, a folder with one of them, data sets with fields,
"scenes", or "strips".

captions.csv with image,caption[,split]             paths relative to the file, or to a folder next to it; an image may
                                                    have many lines
captions.jsonl                                      {"image": "1.jpg", "caption": "a cat"}; the caption may be a list
annotations/captions_train2017.json                 COCO's, with its folders of images
metadata.jsonl, Parquet, tars                       see saccade.data.records; in tars KEY.txt has one caption per line
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from saccade.data.builtin.scenes import scene_splits
from saccade.data.builtin.strips import strip_splits
from saccade.data.coco_captions import caption_files, read_coco_captions
from saccade.data.config import DataConfig
from saccade.data.image_folder import Entry, FileSource, fingerprint
from saccade.data.record_types import Records
from saccade.data.records import Target, file_column, read_records
from saccade.data.samples import CaptionedImage, DataSplits
from saccade.data.splits import SPLITS, assign_splits
from saccade.data.storage import Storage
from saccade.data.tables import DELIMITERS, read_objects
from saccade.errors import DataError
from saccade.files import exists, is_dir, is_file, read_lines, split_lines

TEXT_COLUMNS = ("caption", "text", "title", "sentence", "captions", "sentences", "description", "txt")
CAPTION = Target("caption", TEXT_COLUMNS[1:], suffixes=("txt", "text", "caption"), any_column=False)
CONTAINERS = (".json", ".tar", ".parquet", ".arrow")
TABLES = ("captions.csv", "captions.tsv", "captions.jsonl")  # in a folder, the first that is there

Row = tuple[str, str, str]  # image, caption, split ("" if the data does not define it)


class CaptionFiles(FileSource):
    """Image files of a storage with their captions."""

    def __init__(
        self, storage: Storage, names: Sequence[str], captions: Sequence[tuple[str, ...]], max_pixels: int | None = None
    ):
        super().__init__(storage, names, np.zeros(len(names), dtype=np.int64), (), max_pixels)
        self._captions = captions

    def captions(self, index: int) -> tuple[str, ...]:
        return self._captions[index]

    def with_captions(self, index: int, channels: int = 3) -> CaptionedImage:
        return CaptionedImage(self.image(index, channels), self._captions[index])


def open_pairs(path: str, config: DataConfig | None = None, *, for_training: bool = True) -> DataSplits:
    """Open images with captions and split them by image, so that no image is in two splits.

    Args:
        path: a CSV, TSV or JSONL, a folder with one (``captions.csv``), a tar, a folder of tars, "scenes" or "strips".
        config: fractions and seed for splits that the data set does not define.
        for_training: False to measure a model on the data: no training images are needed.

    Raises:
        DataError: there is no such file, a line has no image or no caption, or an image is missing.
    """
    config = config or DataConfig()
    if path == "scenes":
        return scene_splits(config.scenes)
    if path == "strips":
        return strip_splits(config.strips)
    place = Path(path)
    records = _read(place)
    storage, rows = records.storage, list(_rows(records))
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

    def source(split: str) -> CaptionFiles:
        names = [name for (name, _, _), entry_split in zip(entries, splits) if entry_split == split]
        return CaptionFiles(storage, names, [tuple(captions[name]) for name in names], config.max_pixels)

    train, val, test = (source(split) for split in SPLITS)
    if for_training and not len(train):
        raise DataError(f"{path} has no training images")
    digest = fingerprint(storage, entries, splits)
    return DataSplits(
        train, val if len(val) else None, test if len(test) else None, (), place.stem, digest, records.notes
    )


def has_captions(path: str) -> bool:
    """Whether the data at this path is images with captions rather than pairs of texts, judged by its name and
    columns."""
    place = Path(path)
    if path in ("scenes", "strips") or is_dir(place) or place.suffix in CONTAINERS or "::" in path:
        return True
    suffix = place.suffix.lower()
    if not is_file(place) or suffix not in (".csv", ".tsv", ".jsonl"):
        return False
    if suffix == ".jsonl":
        columns = next((set(row) for _, row in read_objects(place, "image and caption")), set())
    else:
        header = next((line for line in read_lines(place) if line.strip()), "")
        delimiter = max(DELIMITERS, key=header.count)
        columns = {name.strip().strip('"').lower() for name in header.split(delimiter)}
    return file_column(columns) is not None and bool(columns & set(TEXT_COLUMNS))


def _read(place: Path) -> Records:
    records = read_records(str(place), CAPTION)
    if records is not None:
        return records
    if not exists(place):
        raise DataError(f"there is no {place}: give a CSV or JSONL of image,caption, tar shards, or 'scenes'")
    if place.suffix.lower() == ".json":
        return read_coco_captions(place.parent.parent if place.parent.name == "annotations" else place.parent, [place])
    if not is_dir(place):
        raise DataError(
            f"{place} is not a .csv, .tsv, .json (COCO), .jsonl, .tar, .parquet or .arrow of images and captions"
        )
    table = next((place / name for name in TABLES if (place / name).is_file()), None)
    if table is None and (files := caption_files(place)):
        return read_coco_captions(place, files)
    records = None if table is None else read_records(str(table), CAPTION)
    if records is None:
        raise DataError(
            f"{place} has neither {', '.join(TABLES)} nor annotations/captions_train2017.json (COCO), metadata.jsonl, "
            "tar shards, Parquet or Arrow"
        )
    return records


def _rows(records: Records) -> Iterator[Row]:
    """Each image with each of its captions; every row is validated."""
    CAPTION.column(records)  # there is one
    for row in records.rows:
        column = next((name for name in TEXT_COLUMNS if row.fields.get(name)), None)
        if column is None:
            raise DataError(f"{row.where}: image and caption are both required: there is no caption")
        value = row.fields.get(column)
        captions = split_lines(value) if isinstance(value, str) and column == "txt" else value
        captions = captions if isinstance(captions, list) else [captions]
        if not captions:
            raise DataError(f"{row.where}: a caption is empty or not a text")
        for caption in captions:
            text = caption.get("raw") if isinstance(caption, dict) else caption  # COCO's sentences on the hub
            if not isinstance(text, str) or (not text.strip() and column != "txt"):
                raise DataError(f"{row.where}: a caption is empty or not a text")
            if text.strip():
                yield row.file, text.strip(), row.split
