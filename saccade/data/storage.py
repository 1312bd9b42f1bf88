"""Storage of files: a folder, a zip that is read without unpacking, tar files that are read by offset.

All of them can be pickled for loader workers: file handles are opened in the process that uses them.
"""

import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from saccade.errors import DataError, ImageError
from saccade.files import MAX_IMAGE_BYTES, open_regular, read_bytes

MAX_DEPTH = 32  # of folders
MAX_FILE_BYTES = 200 * 2**20  # of one image in an archive; a small archive can expand to more than the memory
UNPACK_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, NotImplementedError, ValueError,
)  # fmt: skip  # what a damaged member of a zip raises


class Storage(Protocol):
    """Files by name. `sizes` are in bytes, from the archive or the file system."""

    path: Path

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def sizes(self) -> Sequence[int]: ...

    def read(self, name: str) -> bytes: ...


class FolderStorage:
    """The files under a folder except hidden ones; names are relative, with forward slashes, sorted."""

    def __init__(self, path: Path, names: Sequence[str] | None = None):
        self.path = path
        if names is None:
            names = sorted(_walk(path))
        self.names = names
        self.sizes = [_size_of(path / name) for name in names]

    def read(self, name: str) -> bytes:
        return read_bytes(self.path / name, error=ImageError, max_bytes=MAX_IMAGE_BYTES)


class ZipStorage:
    """The files in a zip, read in place."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with open_regular(path) as file, zipfile.ZipFile(file) as archive:
                members = [m for m in archive.infolist() if not m.is_dir() and not is_hidden(m.filename)]
        except (*UNPACK_ERRORS, struct.error, IndexError) as error:
            raise DataError(f"{path} is not a readable zip: {error}") from None
        members.sort(key=lambda m: m.filename)
        self.names: Sequence[str] = [m.filename for m in members]
        self.sizes: Sequence[int] = [m.file_size for m in members]
        self._archive: tuple[int, zipfile.ZipFile] | None = None

    def read(self, name: str) -> bytes:
        pid = os.getpid()  # a forked worker must not share the position of its parent's file
        if self._archive is None or self._archive[0] != pid:
            self._archive = pid, self._opened()
        archive = self._archive[1]
        try:
            if archive.getinfo(name).file_size > MAX_FILE_BYTES:
                raise ImageError(
                    f"{self.path}: {name} would unpack to more than {MAX_FILE_BYTES // 2**20} MiB: not read"
                )
            return archive.read(name)
        except UNPACK_ERRORS as error:
            raise ImageError(f"{self.path}: {name} cannot be unpacked: {error}") from None

    def _opened(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(open_regular(self.path))
        except UNPACK_ERRORS as error:
            raise DataError(f"{self.path} is not a readable zip: {error}") from None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_archive": None}


class TarStorage:
    """The files of one or more uncompressed tars: indexed once, then read by offset in any order."""

    def __init__(self, paths: Sequence[Path]):
        self.path = Path(os.path.commonpath([path.parent for path in paths]))
        self.paths = list(paths)
        locations: dict[str, tuple[int, int, int]] = {}  # name -> shard, offset, size
        for shard, path in enumerate(self.paths):
            try:
                with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
                    members = [m for m in archive if m.isreg() and not is_hidden(m.name)]
            except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
                hint = "; compressed tars cannot be read by offset: unpack it" if _is_compressed(path) else ""
                raise DataError(f"{path} is not a readable tar: {error}{hint}") from None
            size = path.stat().st_size
            for member in members:
                if member.issparse():
                    raise DataError(f"{path}: {member.name} is stored as a sparse file, which is not read by offset")
                if member.size < 0 or member.offset_data + member.size > size:
                    raise DataError(f"{path} is cut off inside {member.name}")
                locations[f"{path.relative_to(self.path).as_posix()}/{member.name}"] = (
                    shard,
                    member.offset_data,
                    member.size,
                )
        self._locations = locations
        self.names: Sequence[str] = sorted(locations)
        self.sizes: Sequence[int] = [locations[name][2] for name in self.names]

    def read(self, name: str) -> bytes:
        shard, offset, size = self._locations[name]
        try:
            if size > MAX_IMAGE_BYTES:
                raise ImageError(f"{self.paths[shard]}: {name} has {size:,} bytes: not read, as too large for an image")
            with open_regular(self.paths[shard], error=ImageError) as file:
                file.seek(offset)
                return file.read(size)
        except (OSError, MemoryError) as error:
            raise ImageError(f"{self.paths[shard]}: {name} cannot be read: {error}") from None


def _walk(path: Path) -> list[str]:
    names = []
    resolved = {str(path): os.path.realpath(path)}
    for folder, folders, files in os.walk(path, followlinks=True):
        folders[:] = sorted(f for f in folders if not is_hidden(f))
        base = Path(folder).relative_to(path).as_posix()
        names += [f if base == "." else f"{base}/{f}" for f in files if not is_hidden(f)]
        for name in folders:
            inner = os.path.join(folder, name)
            resolved[inner] = os.path.join(resolved[folder], name)
            if os.path.islink(inner):
                resolved[inner] = os.path.realpath(inner)
                _refuse_loop(inner, resolved)
        if len(Path(base).parts) > MAX_DEPTH:
            raise DataError(f"{path} is nested more than {MAX_DEPTH} folders deep")
    return names


def _refuse_loop(folder: str, resolved: dict[str, str]) -> None:
    """Raise DataError if a folder is a link to one of the folders that it was reached through."""
    above = os.path.dirname(folder)
    while above in resolved:
        if resolved[above] == resolved[folder]:
            raise DataError(f"{folder} is a link to the folder {above}, in which it is: remove the link")
        above = os.path.dirname(above)


def is_hidden(name: str) -> bool:
    """Whether a part of the name is hidden, or belongs to an archive tool or a network drive instead of the data."""
    return any(part.startswith((".", "@")) or part == "__MACOSX" for part in name.split("/"))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # a dangling link: the error comes with its name when the file is read


def _is_compressed(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5")
