"""Tables and lines of text files: CSV, TSV, JSONL."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from saccade.data.images import is_image_name
from saccade.data.storage import is_file
from saccade.errors import DataError

DELIMITERS = ",;\t|"


def read_table(place: Path, headerless: Sequence[str] = ()) -> tuple[list[str], list[dict[str, str]]]:
    """(column names in lower case, rows by column) of a table; as :func:`read_numbered_table`."""
    columns, rows = read_numbered_table(place, headerless)
    return columns, [row for _, row in rows]


def read_numbered_table(
    place: Path, headerless: Sequence[str] = ()
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The column names in lower case, and the rows by column, each with the number of its last line: empty lines and
    quoted line breaks count.

    Args:
        place: a file whose columns are separated by commas, semicolons, tabs or bars, whichever its first line has.
        headerless: the names of the columns where the first line has a file name in place of names.

    Raises:
        DataError: the file cannot be read, or a line has more fields than columns or a quote that is not closed.
    """
    try:
        with open(place, newline="", encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            delimiter = max(DELIMITERS, key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
            rows = [(reader.line_num, [value.strip() for value in row]) for row in reader if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place} is not a readable table: {error}") from None
    except csv.Error as error:
        line = next((i for i, text in enumerate(read_lines(place), 1) if text.count('"') % 2), reader.line_num)
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


def read_lines(place: Path) -> list[str]:
    """The lines of a text file; raises DataError if it cannot be read.

    Lines end at line feeds and carriage returns alone: U+2028 and the like are characters of a text, as in JSONL.
    """
    try:
        return place.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
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
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # half of a pair of surrogates is no character
        except UnicodeEncodeError as error:
            raise DataError(f"{place}, line {number} has a character that is none: {error.reason}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}, line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}, line {number}: an object with {fields} was expected")
        yield number, row
