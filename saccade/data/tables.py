"""Tables and lines of text files: CSV, TSV, JSONL."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saccade.errors import DataError


def read_table(place: Path) -> tuple[list[str], list[dict[str, str]]]:
    """(column names in lower case, rows by column) of a CSV, or of a TSV if its name ends so.

    Raises:
        DataError: the file cannot be read.
    """
    columns, rows = read_numbered_table(place)
    return columns, [row for _, row in rows]


def read_numbered_table(place: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """As :func:`read_table`, each row with the number of its last line: empty lines and quoted line breaks count."""
    try:
        with open(place, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t" if place.suffix.lower() == ".tsv" else ",")
            columns = [c.strip().lower() for c in reader.fieldnames or []]
            rows = []
            for row in reader:
                values = zip(columns, row.values())
                rows.append((reader.line_num, {c: (v or "").strip() for c, v in values if isinstance(v, str | None)}))
            return columns, rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place} is not a readable table: {error}") from None


def read_lines(place: Path) -> list[str]:
    """The lines of a text file; raises DataError if it cannot be read."""
    try:
        return place.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place} is not a readable text file: {error}") from None


def read_objects(place: Path, fields: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line of a JSONL that is not empty; `fields` names the expected ones in errors.

    Raises:
        DataError: a line is not a JSON object.
    """
    for number, line in enumerate(read_lines(place), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{place}, line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}, line {number}: an object with {fields} was expected")
        yield number, row
