"""Numbers of runs from a CSV file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from saccade.errors import ConfigError, DataError
from saccade.files import read_text


def read_columns(path: Path, names: Sequence[str]) -> list[list[float]]:
    """Columns of a CSV file with a header, as numbers.

    Raises:
        ConfigError: no such column.
        DataError: no such file, or a cell that is not a number, with its line.
    """
    try:
        with io.StringIO(read_text(path), newline="") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or ())
            for name in names:
                if name not in header:
                    raise ConfigError(f"{path} has no column {name!r}; there are {', '.join(header) or 'none'}")
            columns: list[list[float]] = [[] for _ in names]
            for row in reader:
                for name, column in zip(names, columns):
                    try:
                        column.append(float(row[name]))
                    except (TypeError, ValueError):
                        raise DataError(f"{path}, line {reader.line_num}: {name} is {row[name]!r}, no number") from None
    except csv.Error as error:
        raise DataError(f"{path} is not readable CSV: {error}") from None
    return columns
