"""Hugging Face data sets on disk: Parquet as downloaded from the hub, Arrow as written by `save_to_disk`.

data/train-00000-of-00002.parquet           any folders; the split is that of the file's name or folder
dataset/train/data-00000-of-00001.arrow     next to state.json, of dataset_dict.json's splits

Read with pyarrow: images are bytes in a column, class numbers have their names in the schema's metadata.
"""

import importlib
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from saccade.data.record_types import Record, Records
from saccade.data.splits import named_split
from saccade.errors import DataError, ImageError
from saccade.files import MAX_IMAGE_BYTES, is_dir, is_file, open_regular, read_bytes, require_regular
from saccade.json_io import parse_json, read_json_file

SUFFIXES = (".parquet", ".arrow")
IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp", "pixel_values", "picture")
CACHE_BYTES = 512 * 2**20  # of decoded row groups of Parquet, in each process
MAX_GROUP_BYTES = 4 * 2**30  # of one column of a row group, unpacked
SLOW_BYTES = 2 * 2**30  # Parquet larger than this is slow in random order
DEPTH = 3  # of folders below the data in which files are looked for


class ArrowFile(NamedTuple):
    """A file, and the name of its split in the data, or ""."""

    path: Path
    split: str


def arrow_files(place: Path) -> list[ArrowFile]:
    """The Parquet or Arrow files of a data set, with their splits; [] if there are none.

    Raises:
        DataError: the folder has several data sets (configurations), or a state.json that cannot be read.
    """
    if is_file(place):
        return [ArrowFile(place, _split_of(place.name))] if place.suffix.lower() in SUFFIXES else []
    if not is_dir(place):
        return []
    if (place / "dataset_dict.json").is_file():
        splits = _read_json(place / "dataset_dict.json").get("splits", [])
        return [ArrowFile(path, str(split)) for split in splits for path in _saved(place / str(split))]
    if (place / "state.json").is_file():
        return [ArrowFile(path, "") for path in _saved(place)]
    files = [path for suffix in SUFFIXES for path in _below(place, suffix)]
    files = [path for path in files if path.suffix == files[0].suffix] if files else []
    configurations = {
        "/".join(part for part in path.relative_to(place).parent.parts if named_split(part) is None) for path in files
    }
    if len(configurations) > 1:
        raise DataError(f"{place} has several data sets: give one of {', '.join(sorted(configurations)[:8])} in it")
    return [ArrowFile(path, _split_of(path.relative_to(place).as_posix())) for path in files]


def read_arrow(place: Path, files: Sequence[ArrowFile]) -> Records:
    """The images of a data set with their fields.

    Raises:
        DataError: pyarrow is not installed, a file cannot be read, or no column contains images.
    """
    root = place if is_dir(place) else place.parent
    storage = ArrowStorage(root, [file.path for file in files])
    rows: list[Record] = []
    notes: list[str] = []
    for number, file in enumerate(files):
        table = storage.fields(number)
        split = named_split(file.split) or ""
        if file.split and not split:
            notes.append(f"the split {file.split} is read as training data")
        relative = file.path.relative_to(root).as_posix()
        rows += [
            Record(f"{relative}/{index}", fields, split, f"{file.path}, row {index}")
            for index, fields in enumerate(table)
        ]
    if sum(file.path.stat().st_size for file in files if file.path.suffix == ".parquet") > SLOW_BYTES:
        notes.append(
            "Parquet of this size is slow to read in random order: `saccade data shard` packs it into tars that are not"
        )
    return Records(storage, rows, str(place), (storage.image_column,), storage.class_names, tuple(dict.fromkeys(notes)))


class ArrowStorage:
    """The images in a column of Parquet or Arrow files, named FILE/ROW.

    Arrow files are memory-mapped; Parquet is decoded by whole row groups, and the last ones are cached.
    """

    def __init__(self, path: Path, files: Sequence[Path]):
        self.path, self.files = path, list(files)
        self._numbers = {file.relative_to(path).as_posix(): number for number, file in enumerate(self.files)}
        self._state: tuple[int, _Opened] | None = None
        schema = self._opened().schema(0)
        self.image_column = _image_column(schema, self.files[0])
        self.class_names = _class_names(schema, self.files[0].parent)
        self.names: Sequence[str] = [
            f"{name}/{row}" for name, number in self._numbers.items() for row in range(self._opened().length(number))
        ]
        self.sizes: Sequence[int] = [size for number in range(len(self.files)) for size in self._sizes(number)]

    def read(self, name: str) -> bytes:
        file, _, row = name.rpartition("/")
        cell = self._opened().cell(self._numbers[file], int(row), self.image_column)
        if isinstance(cell, dict):
            data, path = cell.get("bytes"), cell.get("path")
            if data is None and isinstance(path, str) and self._is_inside(path):
                return read_bytes(self.path / path, error=ImageError, kind="image file", max_bytes=MAX_IMAGE_BYTES)
            if data is None:
                raise ImageError(f"{self.path / name} has no bytes{f', only the path {path}' if path else ''}")
            return data
        if not isinstance(cell, bytes):
            raise ImageError(f"{self.path / name} holds {type(cell).__name__}, not the bytes of an image file")
        return cell

    def _is_inside(self, name: str) -> bool:
        """Whether a row's path is a file inside the data's folder after resolving links."""
        root, file = Path(os.path.realpath(self.path)), Path(os.path.realpath(self.path / name))
        return root in file.parents and is_file(file)

    def fields(self, number: int) -> list[dict[str, Any]]:
        """The rows of a file without its images and other bytes, by lower-case column name."""
        opened = self._opened()
        columns = [field.name for field in opened.schema(number) if not _holds_bytes(field.type)]
        if not columns:
            return [{} for _ in range(opened.length(number))]
        table = opened.columns(number, columns)
        return [{key.lower(): value for key, value in row.items()} for row in table.to_pylist()]

    def _sizes(self, number: int) -> list[int]:
        """Size of each image in bytes if that is cheap; size of the whole file for Parquet."""
        opened = self._opened()
        if self.files[number].suffix == ".parquet":
            return [self.files[number].stat().st_size] * opened.length(number)
        return opened.lengths(number, self.image_column)

    def _opened(self) -> "_Opened":
        if self._state is None or self._state[0] != os.getpid():  # a forked worker opens its own files
            self._state = os.getpid(), _Opened(self.files)
        return self._state[1]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_state": None}


class _Opened:
    """The open files of one process."""

    def __init__(self, files: Sequence[Path]):
        self.files = files
        self._arrow = _pyarrow("pyarrow", files[0])
        self._tables: dict[int, Any] = {}
        self._parquet: dict[int, Any] = {}
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def schema(self, number: int) -> Any:
        return self._table(number).schema if not self._is_parquet(number) else self._file(number).schema_arrow

    def length(self, number: int) -> int:
        return self._file(number).metadata.num_rows if self._is_parquet(number) else self._table(number).num_rows

    def columns(self, number: int, columns: Sequence[str]) -> Any:
        if self._is_parquet(number):
            return self._guarded(number, lambda: self._file(number).read(columns=list(columns)))
        return self._table(number).select(list(columns))

    def lengths(self, number: int, column: str) -> list[int]:
        compute = _pyarrow("pyarrow.compute", self.files[number])
        values = self._table(number).column(column)
        if self._arrow.types.is_struct(values.type):
            values = compute.struct_field(values, "bytes")
        return [-1 if length is None else length for length in compute.binary_length(values).to_pylist()]

    def cell(self, number: int, row: int, column: str) -> Any:
        if not self._is_parquet(number):
            return self._table(number).column(column)[row].as_py()
        metadata, start = self._file(number).metadata, 0
        for group in range(metadata.num_row_groups):
            count = metadata.row_group(group).num_rows
            if row < start + count:
                return self._group(number, group, column)[row - start].as_py()
            start += count
        raise DataError(f"{self.files[number]} has no row {row}")

    def _group(self, number: int, group: int, column: str) -> Any:
        key = (number, group)
        if key not in self._groups:
            self._require_size(number, group, column)
            read = self._file(number).read_row_group
            self._groups[key] = self._guarded(number, lambda: read(group, columns=[column]).column(0))
            while len(self._groups) > 1 and sum(values.nbytes for values in self._groups.values()) > CACHE_BYTES:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _require_size(self, number: int, group: int, column: str) -> None:
        """Raise DataError for a row group whose column would exceed the memory limit when unpacked, by the file's
        metadata."""
        stored = self._file(number).metadata.row_group(group)
        parts = [stored.column(index) for index in range(stored.num_columns)]
        size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] == column)
        if size > MAX_GROUP_BYTES:
            raise DataError(
                f"{self.files[number]}: row group {group} would unpack to {size / 2**30:.1f} GiB, more than "
                f"{MAX_GROUP_BYTES // 2**30}: write it again with smaller row groups"
            )

    def _is_parquet(self, number: int) -> bool:
        return self.files[number].suffix.lower() == ".parquet"

    def _file(self, number: int) -> Any:
        if number not in self._parquet:
            parquet = _pyarrow("pyarrow.parquet", self.files[number])
            path = require_regular(self.files[number])
            self._parquet[number] = self._guarded(number, lambda: parquet.ParquetFile(path))
        return self._parquet[number]

    def _table(self, number: int) -> Any:
        if number not in self._tables:
            self._tables[number] = self._guarded(number, lambda: self._mapped(number))
        return self._tables[number]

    def _mapped(self, number: int) -> Any:
        """A memory-mapped table in Arrow's stream format, written by `datasets`, or in its file format."""
        path = str(self.files[number])
        with open_regular(self.files[number]) as file:
            is_file_format = file.read(6) == b"ARROW1"
        source = self._arrow.memory_map(path)
        open_format = self._arrow.ipc.open_file if is_file_format else self._arrow.ipc.open_stream
        table = open_format(source).read_all()
        table.validate(full=True)  # offsets and UTF-8, which pyarrow takes on trust; a wrong one ends the process
        return table

    def _guarded(self, number: int, read: Any) -> Any:
        try:
            return read()
        except (self._arrow.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
            first = (str(error).splitlines() or ["it does not fit into memory"])[0]
            raise DataError(f"{self.files[number]} cannot be read: {first}") from None


def _pyarrow(module: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DataError(
            f"{path} is read by pyarrow, which is not installed: pip install 'saccade[arrow]' or pip install pyarrow"
        ) from None


def _image_column(schema: Any, path: Path) -> str:
    """The column that is an image in the metadata, otherwise one of bytes with a usual name, otherwise the only one of
    bytes."""
    features = _features(schema, path.parent)
    images = [name for name, feature in features.items() if _is(feature, "Image")]
    images = images or [field.name for field in schema if _holds_bytes(field.type)]
    if not images:
        raise DataError(f"{path} has no column of images; it has {', '.join(field.name for field in schema)}")
    usual = [name for name in IMAGE_COLUMNS if name in images]
    if not usual and len(images) > 1:
        raise DataError(f"{path} has several columns of images, {', '.join(images)}: name the one to learn from image")
    return usual[0] if usual else images[0]


def _class_names(schema: Any, folder: Path) -> dict[str, tuple[str, ...]]:
    """The class names of each column, including columns of lists of class numbers."""
    names: dict[str, tuple[str, ...]] = {}
    for column, feature in _features(schema, folder).items():
        inner = _inner(feature)
        if _is(inner, "ClassLabel") and isinstance(inner.get("names"), list):
            names[column.lower()] = tuple(str(name) for name in inner["names"])
    return names


def _inner(feature: Any) -> Any:
    """The feature of the items of a list, written as a list of one or as a "Sequence" or "List"."""
    if isinstance(feature, list) and feature:
        return _inner(feature[0])
    if isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        return _inner(feature["feature"])
    return feature


def _features(schema: Any, folder: Path) -> Mapping[str, Any]:
    """The column features written by `datasets` into the schema, and next to Arrow files."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is not None:
        try:
            features = parse_json(text, folder)["info"]["features"]
        except (DataError, KeyError, TypeError):
            features = None
        if isinstance(features, dict):
            return features
    info = folder / "dataset_info.json"
    features = _read_json(info).get("features") if info.is_file() else None
    return features if isinstance(features, dict) else {}


def _is(feature: Any, kind: str) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == kind


def _holds_bytes(kind: Any) -> bool:
    """Whether a column contains bytes, directly or in a struct."""
    text = str(kind)
    return text in ("binary", "large_binary", "binary_view") or (text.startswith("struct") and "binary" in text)


def _saved(folder: Path) -> list[Path]:
    """The files of a folder of `save_to_disk`."""
    files = _read_json(folder / "state.json").get("_data_files", [])
    paths = [folder / str(file.get("filename")) for file in files if isinstance(file, dict)]
    missing = [path for path in paths if not is_file(path)]
    if missing or not paths:
        raise DataError(f"{folder}: {f'there is no {missing[0].name}' if missing else 'state.json names no files'}")
    return paths


def _below(place: Path, suffix: str) -> list[Path]:
    return sorted(path for depth in range(DEPTH) for path in place.glob("*/" * depth + f"*{suffix}"))


def _split_of(name: str) -> str:
    """The split denoted by a folder or by a word in a file's name: "data/train-00000-of-00001", "cifar10-test"."""
    *folders, file = name.rsplit(".", 1)[0].split("/")
    words = [*folders, *re.split(r"[^A-Za-z]+", file)]
    return next((split for word in words if (split := named_split(word))), "")


def _read_json(path: Path) -> dict[str, Any]:
    content = read_json_file(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object")
    return content
