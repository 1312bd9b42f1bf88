"""Files of a data set's folder: the images by name, the splits by the names of folders and files."""

import codecs
import math
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element

from saccade.data.images import is_image_name
from saccade.data.splits import SPLIT_NAMES
from saccade.data.storage import is_hidden
from saccade.errors import DataError, SaccadeError
from saccade.files import is_file, open_regular, read_bytes
from saccade.tasks.detection.records import Box, Record

MAX_XML = 2 * 2**30  # bytes; a project of CVAT is one file
DECLARATION = re.compile(rb"""^\s*<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]+)["'][^>]*\?>""")


class ImageTree:
    """The image files below a folder; hidden folders and files are skipped.

    Image files whose path leads out of the folder by a symbolic link are refused when an annotation names them.
    """

    def __init__(self, root: Path):
        self.root = root
        self._resolved_root = Path(os.path.realpath(root))
        self._by_name: dict[str, list[Path]] | None = None
        self._by_stem: dict[str, list[Path]] = {}

    def resolve(self, annotation: Path, name: str, folders: Iterable[Path]) -> Path:
        """The image file that an annotation names.

        Args:
            annotation: the annotation file, for errors.
            name: the file name in it; backslashes separate folders too.
            folders: tried in this order; then the whole tree is searched for the last part of the name.

        Raises:
            DataError: there is no such image, several have its name, or it is outside the folder.
        """
        name = name.replace("\\", "/")
        for folder in folders:
            if is_file(path := folder / name):
                return self.checked(path, annotation)
        return self._only(self.named(name.rsplit("/", 1)[-1]), annotation, name)

    def named(self, name: str) -> list[Path]:
        """Images with this file name, anywhere in the tree."""
        self._index()
        assert self._by_name is not None
        return self._by_name.get(name, [])

    def with_stem(self, stem: str) -> list[Path]:
        """Images with this file name but for its suffix, anywhere in the tree."""
        self._index()
        return self._by_stem.get(stem, [])

    def checked(self, path: Path, annotation: Path) -> Path:
        """The path, if the file is in this folder after resolving symbolic links."""
        if self._resolved_root not in Path(os.path.realpath(path)).parents:
            raise DataError(
                f"{annotation} names the image {path}, which leads out of {self.root} by a link or by '..': copy the "
                "images into the folder, or give the folder that holds both"
            )
        return path

    def _only(self, paths: list[Path], annotation: Path, name: str) -> Path:
        if not paths:
            raise DataError(f"{annotation} names the image {name}, which is nowhere in {self.root}")
        if len(paths) > 1:
            raise DataError(f"{annotation} names the image {name}, but there are {paths[0]} and {paths[1]}")
        return self.checked(paths[0], annotation)

    def _index(self) -> None:
        if self._by_name is not None:
            return
        self._by_name = {}
        for path in sorted(self.root.rglob("*")):
            if is_image_name(path.name) and not hidden(path, self.root):
                self._by_name.setdefault(path.name, []).append(path)
                self._by_stem.setdefault(path.stem, []).append(path)


def hidden(path: Path, root: Path) -> bool:
    """Whether a part of the path below `root` is hidden or of a tool, as in every layout of files."""
    return is_hidden(path.relative_to(root).as_posix())


def split_of(*names: str) -> str | None:
    """The split that the words of a file's or folder's name stand for; the first name with one decides."""
    for name in names:
        words = re.findall(r"[a-z]+", name.lower())
        for word in words:
            if split := SPLIT_NAMES.get(word, {"minival": "val", "trainval": "train"}.get(word)):
                return split
    return None


def finite_box(values: Iterable[float], where: str) -> Box:
    """Four numbers, or an error that names `where`."""
    left, top, right, bottom = (float(value) for value in values)
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise DataError(f"{where}: a box must have four finite numbers")
    return left, top, right, bottom


def begins_with(path: Path, pattern: bytes) -> bool:
    """Whether a regular expression matches in the first 4096 bytes of a file."""
    try:
        with open_regular(path) as file:
            return re.search(pattern, file.read(4096)) is not None
    except (OSError, SaccadeError):
        return False


def class_order(records: dict[str, list[Record]]) -> tuple[str, ...]:
    """The classes that have a box: numbers first, in their order, then names in alphabetical order."""
    names = {name for part in records.values() for record in part for name in record.names}
    return tuple(sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))


def refuse_repetitions(records: dict[str, list[Record]]) -> None:
    """One image in two annotation files would be counted twice, or leak from one split into another."""
    splits: dict[Path, str] = {}
    for split, part in records.items():
        for record in part:
            if (other := splits.setdefault(record.path, split)) != split:
                raise DataError(f"{record.path} is in the splits {other} and {split}")
        repeated = [path for path, count in Counter(record.path for record in part).items() if count > 1]
        if repeated:
            raise DataError(
                f"{repeated[0]} is annotated twice in the split {split}: leave one of the annotation files there"
            )


def read_xml(file: Path) -> Element:
    """The root of an XML file, in the encoding that it declares.

    Raises:
        DataError: it cannot be read, is no XML, or declares entities, which can stand for more than the memory holds.
    """
    try:
        return ElementTree.fromstring(_xml_text(file))
    except (ElementTree.ParseError, ValueError, MemoryError) as error:
        raise DataError(f"{file} is not readable XML: {error}") from None


def _xml_text(file: Path) -> str:
    """The text by the encoding that the file declares, without the declaration."""
    content = read_bytes(file, kind="XML file", max_bytes=MAX_XML)
    encoding = "utf-8-sig"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif match := DECLARATION.match(content.removeprefix(codecs.BOM_UTF8)):
        encoding = {"utf-8": "utf-8-sig"}.get(match[1].decode().lower(), match[1].decode())
    try:
        text = content.decode(encoding)
    except (LookupError, UnicodeError) as error:
        raise DataError(f"{file} is not text in {encoding}: {error}") from None
    if "<!ENTITY" in text:
        raise DataError(f"{file} declares XML entities, which no annotation needs: not read")
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text)
