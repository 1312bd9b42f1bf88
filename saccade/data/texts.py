"""Texts: pairs for translation, and plain texts for language modelling.

pairs.tsv                     two columns, with or without a header (source, target, split); also .csv
pairs.jsonl                   {"source": "one", "target": "un"}
poems.txt                     one sentence per line; an empty line ends a document
"numbers"                     numbers in words: English and French, or English alone
"""

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.builtin.number_words import english, french, number_splits
from saccade.data.config import DataConfig, NumbersConfig
from saccade.data.samples import DataSplits, Source, Translation
from saccade.data.splits import assign_splits, named_split
from saccade.data.tables import read_objects
from saccade.errors import DataError
from saccade.files import exists, read_lines

NUMBERS = "numbers"
SOURCE_COLUMNS, TARGET_COLUMNS = ("source", "src", "input"), ("target", "tgt", "translation", "output")

Row = tuple[str, str, str]  # source, target, split ("" if the data does not define it)


class TextPairs:
    """Pairs of texts in memory."""

    classes: tuple[str, ...] = ()

    def __init__(self, names: Sequence[str], pairs: Sequence[Translation]):
        self.names, self._pairs = names, pairs
        self.labels = np.zeros(len(pairs), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._pairs)

    def pair(self, index: int) -> Translation:
        return self._pairs[index]

    def data(self, index: int) -> bytes:
        return "\0".join(self._pairs[index]).encode()


class Texts:
    """Texts in memory; `documents` has the document index of each, in ascending order."""

    classes: tuple[str, ...] = ()

    def __init__(self, names: Sequence[str], texts: Sequence[str], documents: Sequence[int]):
        self.names, self._texts, self._documents = names, texts, documents
        self.labels = np.zeros(len(texts), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, index: int) -> str:
        return self._texts[index]

    def follower(self, index: int) -> int | None:
        following = index + 1
        same_document = following < len(self) and self._documents[following] == self._documents[index]
        return following if same_document else None

    def data(self, index: int) -> bytes:
        return self._texts[index].encode()


def open_translations(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open pairs of texts and split them; pairs with the same source are in the same split.

    Args:
        path: a TSV, CSV or JSONL, or "numbers" (English and French).
        config: fractions and seed for splits that the data set does not define.

    Raises:
        DataError: there is no such file, or a line without source or target.
    """
    config = config or DataConfig()
    if path == NUMBERS:
        return _numbers(
            config.numbers, lambda ns, names: TextPairs(names, [Translation(english(n), french(n)) for n in ns])
        )
    place = Path(path)
    rows = list(_read_pairs(place))
    if not rows:
        raise DataError(f"{path} contains no pairs of texts")
    own: dict[str, str] = {}  # source -> its split in the data
    for source, _, split in rows:
        if own.setdefault(source, split) != split:
            raise DataError(f"{path}: {source!r} is in two splits")
    splits = dict(zip(own, assign_splits(list(own.values()), config, strata=[""] * len(own))))

    def part(split: str) -> TextPairs | None:
        indices = [i for i, (source, _, _) in enumerate(rows) if splits[source] == split]
        names = [f"{place.name}:{i + 1}" for i in indices]
        return TextPairs(names, [Translation(*rows[i][:2]) for i in indices]) if indices else None

    return _data_splits(part, place, [*rows, *splits.items()])


def open_texts(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open texts and split them by document, so that no document is in two splits; a single document by lines.

    Args:
        path: a text file, or "numbers" (English).
        config: fractions and seed of the splits.

    Raises:
        DataError: there is no such file, or it has no text.
    """
    config = config or DataConfig()
    if path == NUMBERS:
        return _numbers(config.numbers, lambda ns, names: Texts(names, [english(n) for n in ns], range(len(ns))))
    place = Path(path)
    lines, documents, document = [], [], 0
    for number, line in enumerate(read_lines(_checked(place)), 1):
        if line.strip():
            lines.append((number, line.strip()))
            documents.append(document)
        elif documents and documents[-1] == document:
            document += 1
    if not lines:
        raise DataError(f"{path} contains no text")
    groups = documents if documents[-1] > 0 else range(len(lines))
    num_groups = groups[-1] + 1
    group_splits = assign_splits([""] * num_groups, config, strata=[""] * num_groups)
    splits = [group_splits[group] for group in groups]

    def part(split: str) -> Texts | None:
        indices = [i for i in range(len(lines)) if splits[i] == split]
        names = [f"{place.name}:{lines[i][0]}" for i in indices]
        return Texts(names, [lines[i][1] for i in indices], [documents[i] for i in indices]) if indices else None

    return _data_splits(part, place, [*lines, *splits])


def _numbers(config: NumbersConfig, make: Callable[[list[int], list[str]], Source]) -> DataSplits:
    parts = {name: numbers.tolist() for name, numbers in number_splits(config).items()}
    val, test = (make(ns, [f"numbers/{n}" for n in ns]) if ns else None for ns in (parts["val"], parts["test"]))
    train = make(parts["train"], [f"numbers/{n}" for n in parts["train"]])
    return DataSplits(train, val, test, (), NUMBERS, hashlib.sha256(repr(config).encode()).hexdigest())


def _data_splits(part: Callable[[str], Source | None], place: Path, content: Sequence) -> DataSplits:
    train = part("train")
    if train is None:
        raise DataError(f"{place} has no training texts")
    digest = hashlib.sha256(repr(content).encode()).hexdigest()
    return DataSplits(train, part("val"), part("test"), (), place.stem, digest)


def _read_pairs(place: Path) -> Iterator[Row]:
    """Every pair of a file; every line is validated."""
    suffix = place.suffix.lower()
    if suffix not in (".tsv", ".csv", ".jsonl"):
        raise DataError(f"{place} is not a .tsv, .csv or .jsonl of source and target")
    _checked(place)
    rows = _objects(place) if suffix == ".jsonl" else _table(place, "\t" if suffix == ".tsv" else ",")
    for number, (source, target, split) in rows:
        where = f"{place}, line {number}"
        if not source.strip() or not target.strip():
            raise DataError(f"{where}: source and target are both required")
        if split and named_split(split) is None:
            raise DataError(f"{where}: {split!r} is not a split: use train, val or test")
        yield source.strip(), target.strip(), named_split(split) or ""


def _table(place: Path, delimiter: str) -> Iterator[tuple[int, Row]]:
    """Rows of a table: the columns named in its header, or the first two columns."""
    # Quotation marks in a TSV belong to the sentences.
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    lines = [f"{line}\n" for line in read_lines(place)]  # a quoted cell may have several
    rows = csv.reader(lines, delimiter=delimiter, quoting=quoting)
    places: list[int] | None = None
    for row in _parsed(rows, place):
        if not any(cell.strip() for cell in row):
            continue
        if places is None:
            names = [cell.strip().lower() for cell in row]
            columns = [
                next((names.index(c) for c in aliases if c in names), None)
                for aliases in (SOURCE_COLUMNS, TARGET_COLUMNS, ("split",))
            ]
            is_header = columns[0] is not None and columns[1] is not None
            places = [-1 if c is None else c for c in columns] if is_header else [0, 1, -1]
            if is_header:
                continue
        if len(row) <= max(places):
            raise DataError(f"{place}, line {rows.line_num}: source and target are both required")
        source, target, split = (row[p] if p >= 0 else "" for p in places)
        yield rows.line_num, (source, target, split)


def _parsed(rows: Any, place: Path) -> Iterator[list[str]]:
    """The rows of a `csv.reader`; raises DataError where it cannot read one."""
    try:
        yield from rows
    except csv.Error as error:
        raise DataError(f"{place}, line {rows.line_num}: {error}") from None


def _objects(place: Path) -> Iterator[tuple[int, Row]]:
    for number, row in read_objects(place, "source and target"):
        texts = [next((row[c] for c in names if c in row), "") for names in (SOURCE_COLUMNS, TARGET_COLUMNS)]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{place}, line {number}: source and target must be strings")
        yield number, (texts[0], texts[1], str(row.get("split") or ""))


def _checked(place: Path) -> Path:
    if not exists(place):
        raise DataError(f"there is no {place}: give a file of texts, or '{NUMBERS}'")
    return place
