"""Images with a number each, opened in place and split.

photos.csv with file,value[,split]      paths relative to the CSV; split is train, val or test, else drawn with a seed
metadata.jsonl, Parquet, tars           with a field for the value: see saccade.data.records
digits                                  the built-in handwritten digits; the value is the digit
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from saccade.data.builtin.digits import digits_splits
from saccade.data.config import DataConfig
from saccade.data.image_folder import FileSource
from saccade.data.record_types import Records
from saccade.data.records import Target, read_records
from saccade.data.samples import DataSplits, ImageSource, pixels_of
from saccade.data.splits import SPLITS, assign_splits
from saccade.errors import DataError
from saccade.files import exists

VALUE = Target("value", ("target", "label", "score", "cls", "txt"))
Entry = tuple[str, float, str]  # file, value, split or ""


class ValueSource:
    """Images with a number each; `labels` are all 0.

    Args:
        source: the images.
        values: ``[len(source)]`` float64, finite.
        value_name: what they are: the name of their column.
    """

    classes: tuple[str, ...] = ()
    target_name = "values"

    def __init__(self, source: ImageSource, values: np.ndarray, value_name: str):
        self.source, self.values, self.value_name = source, values, value_name
        self.names: Sequence[str] = source.names
        self.labels = np.zeros(len(values), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.values)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return self.source.image(index, channels)

    def pixels(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return pixels_of(self.source, index, channels)

    def data(self, index: int) -> bytes:
        return self.source.data(index)

    def target(self, index: int) -> float:
        """The number."""
        return float(self.values[index])


def open_values(path: str, config: DataConfig | None = None, *, for_training: bool = True) -> DataSplits:
    """Open images with numbers and split them.

    Args:
        path: a table, Hugging Face's imagefolder, Parquet or Arrow, tars, or "digits".
        config: fractions and seed for splits that the data set does not define.
        for_training: False to measure a model on the data: no training images are needed.

    Raises:
        DataError: there is no such file or column, an image is missing, or a value is not a finite number; the message
            names the file and the line.
    """
    config = config or DataConfig()
    if path == "digits":
        return _digit_values(config)
    place = Path(path)
    records = read_records(path, VALUE)
    if records is None:
        if not exists(place):
            raise DataError(f"there is no {path}: give a CSV of file,value")
        raise DataError(
            f"{path} is no .csv or .tsv: regression reads a table with the columns file and value, a metadata.jsonl, "
            "Parquet, Arrow or tars with such a field"
        )
    value_name, entries = _entries(records)
    splits = assign_splits([split for _, _, split in entries], config)
    parts = {split: [entry for entry, own in zip(entries, splits) if own == split] for split in SPLITS}
    if for_training and not parts["train"]:
        raise DataError(f"{path} has no training images")
    digest = hashlib.sha256()
    sizes = dict(zip(records.storage.names, records.storage.sizes))
    sources: dict[str, ValueSource | None] = {}
    for split, part in parts.items():
        names = [name for name, _, _ in part]
        for name, value, _ in part:
            digest.update(f"{name}\0{sizes[name]}\0{value!r}\0{split}\n".encode("utf-8", "surrogateescape"))
        files = FileSource(records.storage, names, np.zeros(len(part), dtype=np.int64), (), config.max_pixels)
        values = np.array([value for _, value, _ in part], dtype=np.float64)
        sources[split] = ValueSource(files, values, value_name) if part or split == "train" else None
    train, val, test = (sources[split] for split in SPLITS)
    assert train is not None
    return DataSplits(train, val, test, (), place.stem, digest.hexdigest(), records.notes)


def _digit_values(config: DataConfig) -> DataSplits:
    splits = digits_splits(config.digits.val)
    train, val, test = (
        None if part is None else ValueSource(part, part.labels.astype(np.float64), "digit")  # type: ignore[arg-type]
        for part in (splits.train, splits.val, splits.test)
    )
    assert train is not None
    return DataSplits(train, val, test, (), splits.name, splits.fingerprint)


def _entries(records: Records) -> tuple[str, list[Entry]]:
    """(name of the column of values, rows)."""
    column = VALUE.column(records)
    return column, [(row.file, _number(row.fields.get(column), column, row.where), row.split) for row in records.rows]


def _number(value: Any, column: str, where: str) -> float:
    """A finite number, from text or a JSON value."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: the column {column} must hold a number, not {value!r}") from None
    if not math.isfinite(number):
        raise DataError(f"{where}: the column {column} must hold a finite number, not {value!r}")
    return number
