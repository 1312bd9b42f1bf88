"""Images with fields: one reader of tables, Hugging Face's imagefolder, Parquet, Arrow and WebDataset for every task.

labels.csv                                  columns of the file and of the target; images next to the table, in
                                            a folder next to it, or named without their suffix
photos/metadata.jsonl, train/metadata.csv   Hugging Face's imagefolder: file_name and other columns
data/train-00000-of-00002.parquet           Hugging Face's data sets, as downloaded or written by save_to_disk
shards/train-{000000..000009}.tar           WebDataset: KEY.jpg and KEY.cls, KEY.json or KEY.txt

A task selects its target column among the fields; errors of a field include the row's `where`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from saccade.data.arrow import arrow_files, read_arrow
from saccade.data.images import is_image_name
from saccade.data.record_types import Record, Records
from saccade.data.splits import named_split
from saccade.data.storage import FolderStorage
from saccade.data.tables import read_numbered_table, read_objects
from saccade.data.webdataset import read_tars, tar_files
from saccade.errors import DataError
from saccade.files import is_dir, is_file

FILE_COLUMNS = (
    "file", "filename", "path", "image", "filepath", "file_name", "image_name", "image_path", "img", "img_path",
    "image_index", "image_file", "image_id", "id",
)  # fmt: skip
TABLES = (".csv", ".tsv")
METADATA = ("metadata.jsonl", "metadata.csv")
MAX_SHOWN = 5  # columns in a message


class Target(NamedTuple):
    """The target of a task.

    Attributes:
        name: the column in the task's own tables, "label".
        columns: alternative names of that column; the first existing one is used.
        suffixes: suffixes of tar members that contain it, the preferred one first; other members of a sample are then
            ignored.
        any_column: whether a single other column is the target whatever its name.
    """

    name: str
    columns: tuple[str, ...]
    suffixes: tuple[str, ...] = ()
    any_column: bool = True

    def column(self, records: Records) -> str:
        """The target column of this data: one of the known names, otherwise the only column.

        Raises:
            DataError: there is no such column, or several are possible.
        """
        present = records.columns
        named = next((column for column in (self.name, *self.columns) if column in present), None)
        if named is not None:
            return named
        classed = [column for column in present if column in records.class_names]
        others = classed or [column for column in present if column != "split"]
        if len(others) != 1 or not self.any_column:
            raise DataError(
                f"{records.origin} needs the columns file and {self.name} (also split, if it has one); it has "
                f"{', '.join([*records.file_columns, *present]) or 'no columns'}"
            )
        return others[0]


def read_records(path: str, target: Target) -> Records | None:
    """The images of a data set with their fields; None if it is in none of the layouts above.

    Raises:
        DataError: a file cannot be read, a row has no image or a missing one, or an invalid split.
    """
    tars = tar_files(path)
    if tars:
        return read_tars(tars, target.suffixes)
    place = Path(path)
    files = arrow_files(place)
    if files:
        return read_arrow(place, files)
    if is_dir(place):
        tables = _metadata_files(place)
        return _read_metadata(place, tables) if tables else None
    if place.suffix.lower() in TABLES or place.suffix.lower() == ".jsonl":
        return _read_table(place, target.name)
    return None


def has_field_layout(path: str) -> bool:
    """Whether a folder has tars, Parquet, Arrow or metadata files, so that :func:`read_records` reads it."""
    place = Path(path)
    return is_dir(place) and bool(tar_files(path) or arrow_files(place) or _metadata_files(place))


# -------------------------------------------------------------------------------------------------------------- tables


class Images:
    """The image files of a table's rows: next to the table or in a folder next to it, with or without suffix."""

    def __init__(self, table: Path):
        self.table, self.folder = table, table.parent
        self.folders: set[str] = set()  # those beside the table in which images were found
        self._index: dict[str, list[str]] | None = None

    def find(self, name: str, where: str) -> str:
        """The path of an image relative to the table's folder.

        Raises:
            DataError: there is no such image, or there are several.
        """
        for text in (name, name.replace("\\", "/")):
            if is_file(self.folder / text):
                return text
        if self._index is None:
            self._index = _index(self.folder)
        text = name.replace("\\", "/").removeprefix("./")
        places = self._index.get(text, [])
        places = [place for place in places if place.startswith("images/")] or places
        if not places:
            raise DataError(f"{where}: there is no {name} in the folder of the table ({self.folder}), nor in one below")
        if len(places) > 1:
            raise DataError(f"{where}: {name} can be {' or '.join(places[:3])}: write the folder into the table")
        if "/" in places[0]:
            self.folders.add(places[0].split("/", 1)[0])
        return places[0]

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"images of {self.table.name} are in {', '.join(sorted(self.folders))}",) if self.folders else ()


def _index(folder: Path) -> dict[str, list[str]]:
    """Images of a folder and its subfolders by the names that a table may use: with or without suffix, with or without
    the folder."""
    index: dict[str, list[str]] = {}
    for base in ("", *sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())):
        for entry in sorted(os.scandir(folder / base), key=lambda entry: entry.name):
            if entry.is_file() and is_image_name(entry.name):
                path = f"{base}/{entry.name}" if base else entry.name
                stem = entry.name.rsplit(".", 1)[0]
                for name in {entry.name, stem, path.rsplit(".", 1)[0]}:
                    index.setdefault(name, []).append(path)
    return index


def file_column(columns: Iterable[str]) -> str | None:
    """The column that names the file: "filename", "Image Index"."""
    by_name = {column.replace(" ", "_"): column for column in columns}
    return next((by_name[name] for name in FILE_COLUMNS if name in by_name), None)


def split_of_row(value: Any, where: str) -> str:
    """The split of a row; "" for none.

    Raises:
        DataError: the value is not a split.
    """
    text = str(value or "").strip()
    split = named_split(text)
    if text and split is None:
        raise DataError(f"{where}: {text.lower()!r} is not a split: use train, val or test")
    return split or ""


def _rows(place: Path, target: str) -> tuple[list[str], Iterable[tuple[int, Mapping[str, Any]]]]:
    """(columns, rows with the number of their line) of a table or of lines of JSON."""
    if place.suffix.lower() in TABLES:
        return read_numbered_table(place, ("file", target, "split"))
    rows = [
        (number, {key.lower(): value for key, value in row.items()})
        for number, row in read_objects(place, f"file and {target}")
    ]
    return list(dict.fromkeys(column for _, row in rows for column in row)), rows


def _read_table(place: Path, target: str) -> Records:
    if not is_file(place):
        raise DataError(f"there is no {place}: give a CSV of file,{target}")
    rows, columns, images = _table_records(place, target, "")
    return Records(FolderStorage(place.parent, [row.file for row in rows]), rows, str(place), columns, {}, images.notes)


def _table_records(place: Path, target: str, prefix: str) -> tuple[list[Record], tuple[str, ...], Images]:
    """(rows, the file column, the location of the images); `prefix` is put in front of the names of files."""
    columns, rows = _rows(place, target)
    column = file_column(columns)
    if column is None:
        raise DataError(
            f"{place} needs the columns file and {target} (also split, if it has one); it has "
            f"{', '.join(columns) or 'no rows'}"
        )
    images, records = Images(place), []
    for number, row in rows:
        where = f"{place}, line {number}"
        name = row.get(column)
        if name is None or not str(name).strip():
            raise DataError(f"{where}: file and {target} are both required: the column {column} is empty")
        file = images.find(str(name), where)
        fields = {key: value for key, value in row.items() if key not in (column, "split")}
        records.append(Record(f"{prefix}{file}", fields, split_of_row(row.get("split"), where), where))
    if not records:
        raise DataError(f"{place} has a header and no rows")
    return records, (column,), images


# -------------------------------------------------------------------------------------------------------- imagefolder


def _metadata_files(place: Path) -> list[Path]:
    """The `metadata.jsonl` or `metadata.csv` of a folder and of those in it."""
    files = [place / name for name in METADATA if (place / name).is_file()]
    if is_dir(place):
        folders = sorted(entry.name for entry in os.scandir(place) if entry.is_dir())
        files += [place / folder / name for folder in folders for name in METADATA if (place / folder / name).is_file()]
    return files


def _read_metadata(place: Path, tables: Sequence[Path]) -> Records:
    records: list[Record] = []
    columns: tuple[str, ...] = ()
    for table in tables:
        inner = table.parent.relative_to(place).as_posix()
        prefix = "" if inner == "." else f"{inner}/"
        rows, columns, _ = _table_records(table, "label", prefix)
        records += [row if row.split else row._replace(split=_split_of_folders(row.file)) for row in rows]
    names = {record.file for record in records}
    storage = FolderStorage(place)
    others = [name for name in storage.names if is_image_name(name) and name not in names]
    notes = [f"read by {', '.join(table.relative_to(place).as_posix() for table in tables[:MAX_SHOWN])}"]
    if others:
        notes.append(f"skipped {len(others)} images that the metadata does not name, such as {others[0]}")
    kept = FolderStorage(place, [record.file for record in records])
    return Records(kept, records, str(place), columns, {}, tuple(notes))


def _split_of_folders(name: str) -> str:
    return next((split for part in name.split("/")[:-1] if (split := named_split(part))), "")
