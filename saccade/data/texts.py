"""Texts: pairs of them to translate, and plain ones to learn a language from.

pairs.tsv                     two columns, with or without a line of names (source, target, split); also .csv
pairs.jsonl                   {"source": "one", "target": "un"}
poems.txt                     a sentence a line; an empty line ends a document
"numbers"                     numbers in words: English and French, or English alone
"""

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from saccade.data.builtin.number_words import english, french, number_splits
from saccade.data.config import DataConfig, NumbersConfig
from saccade.data.folder import SPLIT_NAMES, assign_splits, read_lines, read_objects
from saccade.data.samples import DataSplits, Source, Translation
from saccade.errors import DataError

NUMBERS = "numbers"
SOURCE_COLUMNS, TARGET_COLUMNS = ("source", "src", "input"), ("target", "tgt", "translation", "output")

Pair = tuple[str, str, str]  # source, target, split ("" where the data does not say)


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
    """Texts in memory; `documents` says of each to which it belongs, in growing order."""

    classes: tuple[str, ...] = ()

    def __init__(self, names: Sequence[str], texts: Sequence[str], documents: Sequence[int]):
        self.names, self._texts, self._documents = names, texts, documents
        self.labels = np.zeros(len(texts), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, index: int) -> str:
        return self._texts[index]

    def follower(self, index: int) -> int | None:
        after = index + 1
        return after if after < len(self) and self._documents[after] == self._documents[index] else None

    def data(self, index: int) -> bytes:
        return self._texts[index].encode()


def open_translations(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open pairs of texts and split them; pairs with the same source stay together.

    Args:
        path: a TSV, CSV or JSONL, or "numbers" (English and French).
        config: fractions and seed of the splits that the data does not have of its own.

    Raises:
        DataError: nothing there, or a line without one of the two.
    """
    config = config or DataConfig()
    if path == NUMBERS:
        return _numbers(
            config.numbers, lambda ns, names: TextPairs(names, [Translation(english(n), french(n)) for n in ns])
        )
    place = Path(path)
    found = list(_pairs(place))
    if not found:
        raise DataError(f"{path} holds no pairs of texts")
    by_source: dict[str, list[int]] = {}
    for index, (source, _, _) in enumerate(found):
        by_source.setdefault(source, []).append(index)
    for source, rows in by_source.items():
        if len({found[i][2] for i in rows}) > 1:
            raise DataError(f"{path}: {source!r} is in two splits")
    cut = assign_splits([(source, "", found[rows[0]][2]) for source, rows in by_source.items()], config)
    split_of = dict(zip(by_source, cut))

    def part(split: str) -> TextPairs | None:
        chosen = [i for i, (source, _, _) in enumerate(found) if split_of[source] == split]
        names = [f"{place.name}:{i + 1}" for i in chosen]
        return TextPairs(names, [Translation(*found[i][:2]) for i in chosen]) if chosen else None

    return _splits(part, place, [*found, *split_of.items()])


def open_texts(path: str, config: DataConfig | None = None) -> DataSplits:
    """Open texts and split them by document, so that no document is in two splits; lines where there is but one.

    Args:
        path: a text file, or "numbers" (English).
        config: fractions and seed of the splits.

    Raises:
        DataError: nothing there, or no text.
    """
    config = config or DataConfig()
    if path == NUMBERS:
        return _numbers(config.numbers, lambda ns, names: Texts(names, [english(n) for n in ns], range(len(ns))))
    place = Path(path)
    lines, documents, document = [], [], 0
    for number, line in enumerate(read_lines(_present(place)), 1):
        if line.strip():
            lines.append((number, line.strip()))
            documents.append(document)
        elif documents and documents[-1] == document:
            document += 1
    if not lines:
        raise DataError(f"{path} holds no text")
    whole = sorted(set(documents))
    if len(whole) == 1:
        cut = assign_splits([(str(i), "", "") for i in range(len(lines))], config)
    else:
        of_document = dict(zip(whole, assign_splits([(str(d), "", "") for d in whole], config)))
        cut = [of_document[d] for d in documents]

    def part(split: str) -> Texts | None:
        chosen = [i for i in range(len(lines)) if cut[i] == split]
        names = [f"{place.name}:{lines[i][0]}" for i in chosen]
        return Texts(names, [lines[i][1] for i in chosen], [documents[i] for i in chosen]) if chosen else None

    return _splits(part, place, [*lines, *cut])


def _numbers(config: NumbersConfig, make: Callable[[list[int], list[str]], Source]) -> DataSplits:
    parts = {name: found.tolist() for name, found in number_splits(config).items()}
    val, test = (make(ns, [f"numbers/{n}" for n in ns]) if ns else None for ns in (parts["val"], parts["test"]))
    train = make(parts["train"], [f"numbers/{n}" for n in parts["train"]])
    return DataSplits(train, val, test, (), NUMBERS, hashlib.sha256(repr(config).encode()).hexdigest())


def _splits(part: Callable[[str], Source | None], place: Path, told: Sequence) -> DataSplits:
    train = part("train")
    if train is None:
        raise DataError(f"{place} has no texts to train on")
    return DataSplits(train, part("val"), part("test"), (), place.stem, hashlib.sha256(repr(told).encode()).hexdigest())


def _pairs(place: Path) -> Iterator[Pair]:
    """Every pair of a file, each line checked."""
    suffix = place.suffix.lower()
    if suffix not in (".tsv", ".csv", ".jsonl"):
        raise DataError(f"{place} is no .tsv, .csv or .jsonl of source and target")
    _present(place)
    rows = _objects(place) if suffix == ".jsonl" else _table(place, "\t" if suffix == ".tsv" else ",")
    for number, (source, target, split) in rows:
        where = f"{place}, line {number}"
        if not source.strip() or not target.strip():
            raise DataError(f"{where}: source and target must both be there")
        if split and split.lower() not in SPLIT_NAMES:
            raise DataError(f"{where}: {split!r} is no split; write train, val or test")
        yield source.strip(), target.strip(), SPLIT_NAMES.get(split.lower(), "")


def _table(place: Path, delimiter: str) -> Iterator[tuple[int, Pair]]:
    """Rows of a table, by its names of columns, else its first two columns."""
    # Sentences have quotation marks of their own: a TSV has no other meaning for them.
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    rows = csv.reader(read_lines(place), delimiter=delimiter, quoting=quoting)
    places: list[int] | None = None
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if places is None:
            names = [cell.strip().lower() for cell in row]
            columns = [
                next((names.index(c) for c in wanted if c in names), None)
                for wanted in (SOURCE_COLUMNS, TARGET_COLUMNS, ("split",))
            ]
            named = columns[0] is not None and columns[1] is not None
            places = [-1 if c is None else c for c in columns] if named else [0, 1, -1]
            if named:
                continue
        if len(row) <= max(places):
            raise DataError(f"{place}, line {rows.line_num}: source and target must both be there")
        source, target, split = (row[p] if p >= 0 else "" for p in places)
        yield rows.line_num, (source, target, split)


def _objects(place: Path) -> Iterator[tuple[int, Pair]]:
    for number, row in read_objects(place, "source and target"):
        found = [next((row[c] for c in names if c in row), "") for names in (SOURCE_COLUMNS, TARGET_COLUMNS)]
        if not all(isinstance(text, str) for text in found):
            raise DataError(f"{place}, line {number}: source and target must be texts")
        yield number, (found[0], found[1], str(row.get("split") or ""))


def _present(place: Path) -> Path:
    if not place.exists():
        raise DataError(f"there is no {place}: give a file of texts, or '{NUMBERS}'")
    return place
