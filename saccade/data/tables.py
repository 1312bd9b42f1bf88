"""Tables and lines of text files: CSV, TSV, JSONL."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from saccade.data.images import is_image_name
from saccade.errors import DataError
from saccade.files import is_file, read_lines, read_text, split_lines
from saccade.json_io import parse_json

DELIMITERS = ",;\t|"


def read_table(place: Path, headerless: Sequence[str] = ()) -> tuple[list[str], list[dict[str, str]]]:
    """(column names in lower case, rows by column) of a table; as :func:`read_numbered_table`."""
    columns, rows = read_numbered_table(place, headerless)
    return columns, [row for _, row in rows]


def read_numbered_table(
    place: Path, headerless: Sequence[str] = ()
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The column names in lower case, and the rows by column, each with its last line number, counting empty lines and
    quoted line breaks.

    Args:
        place: a file whose columns are separated by commas, semicolons, tabs or bars, depending on its first line.
        headerless: the column names if the first line has a file name instead of column names.

    Raises:
        DataError: the file cannot be read, or a line has more fields than columns or an unclosed quote.
    """
    text = read_text(place, kind="table")
    first = next((line for line in split_lines(text) if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        line = next((i for i, line in enumerate(split_lines(text), 1) if line.count('"') % 2), reader.line_num)
        raise DataError(f"{place}, line {line}: {error}; is a quote not closed?") from None
    columns = [name.lower() for name in rows[0][1]] if rows else []
    if columns and headerless and is_image_name(columns[0]):
        columns = list(headerless[: len(columns)])
    else:
        rows = rows[1:]
    for number, values in rows:
        if len(values) > len(columns):
            raise DataError(
                f"{place}, line {number} has {len(values)} fields, but there are {len(columns)} columns: put a value "
                f"with {delimiter!r} in it in quotes"
            )
    return columns, [(number, dict(zip(columns, values))) for number, values in rows]


def file_beside(table: Path, name: str) -> str | None:
    """The file that a row names, relative to the table's folder, with `/` or Windows' `\\`; None if there is none."""
    return next((path for path in (name, name.replace("\\", "/")) if is_file(table.parent / path)), None)


def read_objects(place: Path, fields: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line of a JSONL that is not empty; `fields` names the expected ones in errors.

    Raises:
        DataError: a line is not a JSON object.
    """
    for number, line in enumerate(read_lines(place), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, f"{place}, line {number}")
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # half of a pair of surrogates is no character
        except UnicodeEncodeError as error:
            raise DataError(f"{place}, line {number} has a character that is none: {error.reason}") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}, line {number}: an object with {fields} was expected")
        yield number, row
