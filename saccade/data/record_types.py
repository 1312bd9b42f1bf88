"""An image with its fields, and a data set of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from saccade.data.storage import Storage
from saccade.errors import DataError

UNLABELLED = -1  # the class number of an image whose class is not published, as in test splits of Hugging Face


class Record(NamedTuple):
    """An image and its fields."""

    file: str  # its name in the storage
    fields: Mapping[str, Any]  # by name in small letters: text from a table, any value of JSON from other files
    split: str  # "" where the data has none
    where: str  # for errors: "labels.csv, line 3"


@dataclass(frozen=True)
class Records:
    """Images with fields.

    Attributes:
        storage: the images.
        rows: one per image and row of the data.
        origin: the file or folder, for errors.
        file_columns: columns with the image's name.
        class_names: column -> its class names; "" for any column.
        notes: messages on recognised and ignored files.
    """

    storage: Storage
    rows: Sequence[Record]
    origin: str
    file_columns: tuple[str, ...] = ()
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The names of all fields."""
        return list(dict.fromkeys(name for row in self.rows for name in row.fields))

    def names_of(self, column: str) -> tuple[str, ...]:
        """The class names of a column; () if it has none."""
        return self.class_names.get(column) or self.class_names.get("", ())


def class_name(value: Any, names: Sequence[str], where: str) -> str:
    """The class name in a field, given as a name or a number; "" for an unpublished class (-1).

    Args:
        value: value of the field.
        names: class names; empty if the data has none.
        where: position of the field, for errors.

    Raises:
        DataError: the value is missing, there are several, or a number has no name.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, str) and not value.strip()) or isinstance(value, dict):
        raise DataError(f"{where}: file and label are both required: there is no label")
    if isinstance(value, list | tuple):
        raise DataError(f"{where}: {len(value)} labels for an image: --task multilabel learns several")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if not value.is_integer():
            raise DataError(f"{where}: {value} is no class: --task regression learns numbers")
        value = int(value)
    text = str(value).strip()
    if not names:
        return text
    if text == str(UNLABELLED):
        return ""
    if not text.isdecimal():
        if text not in names:
            raise DataError(f"{where}: the label {text!r} is not one of the classes {', '.join(names[:10])}")
        return text
    if text in names:
        return text
    if int(text) >= len(names):
        raise DataError(f"{where}: has class {text}, but there are {len(names)} names")
    return names[int(text)]
