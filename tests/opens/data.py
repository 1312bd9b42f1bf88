"""Layouts of data sets that open: a writer of a small data set, and the values that its reader must return."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.data.samples import DataSplits
from tests.opens.tables import Table, file_list

PAGE = "data.md"
HEADER = ("layout", "files, as in its test", "also")


@dataclass(frozen=True)
class Layout:
    """One row of a table, and one test.

    Attributes:
        task: whose reader opens it.
        name: the first cell.
        write: writes the data set into an empty folder; returns the path that is given to Saccade.
        expected: "split/file name" -> the value of the sample, as :func:`values` returns it.
        classes: of the data set.
        also: the third cell: what else of this layout is read, in Markdown.
        table: the name of its table; by default that of the task.
    """

    task: str
    name: str
    write: Callable[[Path], Path]
    expected: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    also: str = ""
    table: str = ""
    extra: str = ""  # an optional package that its reader needs: without it the test is skipped

    def row(self) -> tuple[str, ...]:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            path = self.write(root)
            given = "" if path == root else f"; the path is `{path.relative_to(root).as_posix()}`"
            return self.name, f"{file_list(root)}{given}", self.also


def values(splits: DataSplits) -> dict[str, Any]:
    """ "split/file name" -> what the data set holds of a sample: boxes as (class, left, top, right, bottom), the number
    of pixels of each class, the depth of the middle in metres, captions, or the class."""
    table: dict[str, Any] = {}
    for split, part in splits.parts.items():
        source: Any = part
        for index, name in enumerate(source.names):
            table[f"{split}/{Path(name).name}"] = _value(splits.classes, source, index)
    return table


def _value(classes: Sequence[str], source: Any, index: int) -> Any:
    if hasattr(source, "with_boxes"):
        image = source.with_boxes(index)
        return [(classes[k], *(round(float(v), 2) for v in box)) for k, box in zip(image.labels, image.boxes)]
    if hasattr(source, "with_map"):
        _, target = source.with_map(index)
        if target.dtype.kind == "f":
            return round(float(target[target.shape[0] // 2, target.shape[1] // 2]), 3)
        numbers, counts = np.unique(target, return_counts=True)
        return {classes[k] if k >= 0 else None: int(n) for k, n in zip(numbers, counts)}
    if hasattr(source, "with_captions"):
        return source.with_captions(index).captions
    if hasattr(source, "targets"):
        return np.asarray(source.targets[index]).tolist()
    if hasattr(source, "values"):
        return float(source.values[index])
    return classes[source.labels[index]]


# --------------------------------------------------------------------------------------------------- files of a layout

SIZE = (80, 60)  # width, height of the images


def picture(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.name.encode()]).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def written(path: Path, content: Any) -> Path:
    """A file of text or bytes, or of anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def layouts() -> list[Layout]:
    """Every layout, in the order of the tables."""
    from tests.opens import boxes, captions, labels, maps

    return [*labels.LAYOUTS, *boxes.LAYOUTS, *maps.LAYOUTS, *captions.LAYOUTS]


def tables() -> list[Table]:
    by_name: dict[str, list[Layout]] = {}
    for layout in layouts():
        by_name.setdefault(layout.table or layout.task, []).append(layout)
    return [Table(PAGE, name, HEADER, [layout.row() for layout in rows]) for name, rows in by_name.items()]
