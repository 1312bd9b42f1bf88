"""Images with a number each, opened in place and split.

photos.csv with file,value[,split]      paths relative to the CSV; split is train, val or test, else drawn with a seed
digits                                  the built-in handwritten digits; the value is the digit
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from saccade.data.builtin.digits import digits_splits
from saccade.data.config import DataConfig
from saccade.data.image_folder import FILE_COLUMNS, FileSource
from saccade.data.samples import DataSplits, ImageSource
from saccade.data.splits import SPLITS, assign_splits, named_split
from saccade.data.storage import FolderStorage
from saccade.data.tables import file_beside, read_numbered_table
from saccade.errors import DataError

VALUE_COLUMNS = ("value", "target", "label")
Entry = tuple[str, float, str]  # file, value, split or ""


class ValueSource:
    """Images with a number each; `labels` are all 0.

    Args:
        source: the images.
        values: ``[len(source)]`` float64, finite.
        value_name: what they are: the name of their column.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, source: ImageSource, values: np.ndarray, value_name: str):
        self.source, self.values, self.value_name = source, values, value_name
        self.names: Sequence[str] = source.names
        self.labels = np.zeros(len(values), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.values)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return self.source.image(index, channels)

    def data(self, index: int) -> bytes:
        return self.source.data(index)


def open_values(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open images with numbers and split them.

    Args:
        path: a CSV or TSV with a header, or "digits".
        config: fractions and seed for splits that the data set does not define.

    Raises:
        DataError: there is no such file or column, an image is missing, or a value is not a finite number; the message
            names the file and the line.
    """
    config = config or DataConfig()
    if path == "digits":
        return _digit_values(config)
    place = Path(path)
    if place.suffix.lower() not in (".csv", ".tsv"):
        raise DataError(f"{path} is no .csv or .tsv: regression reads a table with the columns file and value")
    value_name, entries = _read_entries(place)
    splits = assign_splits([split for _, _, split in entries], config)
    parts = {split: [entry for entry, own in zip(entries, splits) if own == split] for split in SPLITS}
    if not parts["train"]:
        raise DataError(f"{path} has no training images")
    digest = hashlib.sha256()
    sources = {}
    for split, part in parts.items():
        storage = FolderStorage(place.parent, [name for name, _, _ in part])
        for (name, value, _), size in zip(part, storage.sizes):
            digest.update(f"{name}\0{size}\0{value!r}\0{split}\n".encode())
        files = FileSource(storage, storage.names, np.zeros(len(part), dtype=np.int64), ())
        values = np.array([value for _, value, _ in part], dtype=np.float64)
        sources[split] = ValueSource(files, values, value_name) if part else None
    return DataSplits(sources["train"], sources["val"], sources["test"], (), place.stem, digest.hexdigest())  # type: ignore[arg-type]


def _digit_values(config: DataConfig) -> DataSplits:
    splits = digits_splits(config.digits.val)
    train, val, test = (
        None if part is None else ValueSource(part, part.labels.astype(np.float64), "digit")  # type: ignore[arg-type]
        for part in (splits.train, splits.val, splits.test)
    )
    assert train is not None
    return DataSplits(train, val, test, (), splits.name, splits.fingerprint)


def _read_entries(place: Path) -> tuple[str, list[Entry]]:
    """(name of the column of values, rows)."""
    if not place.is_file():
        raise DataError(f"there is no {place}: give a CSV of file,value")
    columns, rows = read_numbered_table(place, ("file", "value", "split"))
    file_column = next((c for c in FILE_COLUMNS if c in columns), None)
    value_column = next((c for c in VALUE_COLUMNS if c in columns), None)
    if file_column is None or value_column is None:
        raise DataError(
            f"{place} needs a header with a column for the file ({', '.join(FILE_COLUMNS[:4])}) and one for the number "
            f"({', '.join(VALUE_COLUMNS)}); it has {', '.join(columns) or 'none'}"
        )
    entries = []
    for number, row in rows:
        name, text, split = row.get(file_column, ""), row.get(value_column, ""), row.get("split", "").lower()
        where = f"{place}, line {number}"
        if not name:
            raise DataError(f"{where}: the column {file_column} is empty")
        file = file_beside(place, name)
        if file is None:
            raise DataError(f"{where}: there is no {name} in the folder of the table")
        if split and named_split(split) is None:
            raise DataError(f"{where}: {split!r} is not a split: use train, val or test")
        entries.append((file, _number(text, value_column, where), named_split(split) or ""))
    if not entries:
        raise DataError(f"{place} has a header and no rows")
    return value_column, entries


def _number(text: str, column: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{where}: the column {column} must hold a number, not {text!r}") from None
    if not math.isfinite(value):
        raise DataError(f"{where}: the column {column} must hold a finite number, not {text!r}")
    return value
