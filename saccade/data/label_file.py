"""Class names of a model from a file, for a checkpoint without names or with other names.

classes.txt                  one name per line, in the order of outputs; or lines like "n01440764 tench, Tinca tinca"
map.csv                      columns index,name (or class_index,class_name, …), in any order, also of some outputs only
classes.json                 a list; {"0": "tench"}; {"tench": 0}; {"0": ["n01440764", "tench"]}; a config.json
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from saccade.data.class_names import SYNSET
from saccade.data.tables import read_numbered_table
from saccade.errors import DataError
from saccade.files import is_file, read_lines
from saccade.json_io import read_json_file

INDEX_COLUMNS = ("index", "class_index", "class_id", "label_id", "category_id", "id", "idx", "number")
NAME_COLUMNS = ("name", "class_name", "label_name", "category", "category_name", "description", "class", "label")

Row = tuple[str, Any, Any]  # where it is, index, name


def read_label_file(path: str | Path, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels of a model, replaced by the names in a file.

    Args:
        path: .txt, .csv, .tsv or .json, as above.
        labels: labels of the model, in the order of its outputs; those missing in a table or a JSON object are kept.

    Raises:
        DataError: the file cannot be read, an index is not one of the model's outputs or has two names, or a list has
            another number of names than the model has outputs; the message names the file and the line.
    """
    place = Path(path)
    if not is_file(place):
        raise DataError(f"there is no {place}: give a .txt, .csv, .tsv or .json of class names")
    if not labels:
        raise DataError(f"{place} names classes, and the model has none")
    suffix = place.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _numbered(_table_rows(place), labels)
    if suffix == ".json":
        content = _read_json(place)
        if isinstance(content, dict):
            return _numbered(_object_rows(place, content), labels)
        return _listed(place, content, labels)
    return _listed(place, [_without_synset(line.strip()) for line in read_lines(place) if line.strip()], labels)


def _listed(place: Path, names: Any, labels: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{place} must hold a list of names, or names by their index")
    if len(names) != len(labels):
        raise DataError(f"{place} has {len(names)} names, and the model has {len(labels)} outputs: give one for each")
    return tuple(names)


def _numbered(rows: Iterable[Row], labels: Sequence[str]) -> tuple[str, ...]:
    names: dict[int, str] = {}
    for where, index, name in rows:
        if not str(index).strip().isdecimal() or not isinstance(name, str) or not name.strip():
            raise DataError(f"{where}: an index from 0 and a name were expected, not {index!r} and {name!r}")
        number = int(index)
        if number >= len(labels):
            raise DataError(
                f"{where}: the index {number} is not one of the model's {len(labels)} outputs, which count from 0"
            )
        if names.setdefault(number, name) != name:
            raise DataError(f"{where}: the index {number} has two names, {names[number]!r} and {name!r}")
    return tuple(names.get(number, label) for number, label in enumerate(labels))


def _table_rows(place: Path) -> list[Row]:
    columns, rows = read_numbered_table(place)
    index = next((column for column in INDEX_COLUMNS if column in columns), None)
    name = next((column for column in NAME_COLUMNS if column in columns), None)
    if index is not None and name is not None:
        return [(f"{place}, line {number}", row.get(index, ""), row.get(name, "")) for number, row in rows]
    if len(columns) == 2 and any(column.isdecimal() for column in columns):  # without a header: two columns
        number_first = columns[0].isdecimal()
        pairs = [
            (number, [value.strip() for value in line.split("\t" if "\t" in line else ",", 1)])
            for number, line in enumerate(read_lines(place), 1)
            if line.strip()
        ]
        return [(f"{place}, line {n}", *(pair if number_first else reversed(pair))) for n, pair in pairs]  # type: ignore[misc]
    raise DataError(
        f"{place} needs a column of indices ({', '.join(INDEX_COLUMNS[:3])}) and one of names "
        f"({', '.join(NAME_COLUMNS[:3])}); it has {', '.join(columns)}"
    )


def _object_rows(place: Path, content: dict[str, Any]) -> list[Row]:
    for key in ("id2label", "label2id"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    rows: list[Row] = []
    for key, value in content.items():
        if isinstance(value, int) and not isinstance(value, bool):  # {"tench": 0}
            rows.append((f"{place}, {key!r}", value, key))
        else:  # {"0": "tench"}, and Keras' {"0": ["n01440764", "tench"]}
            name = value[-1] if isinstance(value, list) and value else value
            rows.append((f"{place}, {key!r}", key, name))
    return rows


def _read_json(place: Path) -> Any:
    return read_json_file(place)


def _without_synset(line: str) -> str:
    """ "n01440764 tench, Tinca tinca" -> "tench, Tinca tinca"."""
    synset, _, name = line.partition(" ")
    return name.strip() if SYNSET.fullmatch(synset) and name.strip() else line
