"""Reading of untrusted files, in one place: regular files only, of a bounded size, as bytes or as UTF-8.

Every reader of the package opens its files here: a pipe or a device, which may never end, is refused without waiting
for it, and so is a file larger than the limit of its kind (a sparse file takes no space on the disk).

Loads no torch.
"""

import io
import os
import stat
from pathlib import Path
from typing import IO, Any

from saccade.errors import DataError, SaccadeError

MAX_BYTES = 4 * 2**30  # of a file that is read whole: JSON, tables, texts; the largest public annotations take 1 GiB
MAX_IMAGE_BYTES = 2**30  # of one image; 89 million pixels in 32-bit RGBA take a third of it

Problem = type[SaccadeError]


class _Bounded(io.BufferedReader):
    """A file whose reads never allocate more memory than there are bytes left: decoders and unpicklers pass on the
    length stated in a damaged file, and Python allocates it before reading."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return super().read()
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(min(size, max(left, 0)))


def open_regular(
    path: Path, name: str = "", error: Problem = DataError, *, kind: str = "file", max_bytes: int | None = None
) -> IO[bytes]:
    """Open a regular file for reading.

    Args:
        path: path of the file; symbolic links are followed.
        name: name of the file in errors; its path by default.
        error: the class of errors to raise.
        kind: expected kind of file, for errors.
        max_bytes: limit of its size; None if the caller reads only parts of it.

    Raises:
        SaccadeError: of the class `error`, in one line: the file does not exist, permission is denied, it is not a
            regular file, it is too large, or the name is not a valid file name.
    """
    name = name or str(path)
    try:
        file = _Bounded(open(path, "rb", buffering=0, opener=_open_without_waiting))  # noqa: SIM115 (the caller closes it)
    except FileNotFoundError:
        raise error(f"{name}: there is no such file") from None
    except PermissionError:
        raise error(f"{name}: permission denied") from None
    except IsADirectoryError:
        raise error(f"{name} is a folder, not {_article(kind)}") from None
    except (OSError, ValueError) as problem:
        raise error(f"{name} cannot be opened: {getattr(problem, 'strerror', None) or problem}") from None
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise error(f"{name} is a pipe, socket or device, not {_article(kind)}")
    if max_bytes is not None and status.st_size > max_bytes:
        file.close()
        raise error(f"{name} has {status.st_size:,} bytes: not read, since {_article(kind)} has at most {max_bytes:,}")
    return file


def require_regular(path: Path, error: Problem = DataError, *, kind: str = "file") -> Path:
    """The path, if it is a regular file that can be opened; for libraries that open files themselves.

    Raises:
        SaccadeError: as :func:`open_regular`.
    """
    open_regular(path, error=error, kind=kind).close()
    return path


def read_bytes(
    path: Path, name: str = "", error: Problem = DataError, *, kind: str = "file", max_bytes: int = MAX_BYTES
) -> bytes:
    """The content of a regular file; arguments and errors as for :func:`open_regular`."""
    with open_regular(path, name, error, kind=kind, max_bytes=max_bytes) as file:
        try:
            return file.read()
        except (OSError, MemoryError) as problem:
            reason = getattr(problem, "strerror", None) or "it does not fit into memory"
            raise error(f"{name or path} cannot be read: {reason}") from None


def read_text(path: Path, error: Problem = DataError, *, kind: str = "text file", max_bytes: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; further errors as for :func:`open_regular`.

    Raises:
        SaccadeError: the file is not UTF-8; the message has the line.
    """
    content = read_bytes(path, error=error, kind=kind, max_bytes=max_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(
            f"{path}, line {line} is not UTF-8: the byte 0x{content[problem.start]:02x} begins no character. Save the "
            "file as UTF-8"
        ) from None


def split_lines(text: str) -> list[str]:
    """The lines of a text, without line endings.

    Only line feeds and carriage returns end lines: U+2028, U+0085 and form feeds are characters of the text.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n") if text else []


def read_lines(path: Path, error: Problem = DataError) -> list[str]:
    """The lines of a UTF-8 file, as :func:`split_lines` splits them; errors as for :func:`read_text`."""
    return split_lines(read_text(path, error))


def is_file(path: Path) -> bool:
    """Whether there is such a file; also False for an invalid file name, such as one that is too long."""
    return _holds(path.is_file)


def is_dir(path: Path) -> bool:
    """Whether there is such a folder; also False for an invalid folder name."""
    return _holds(path.is_dir)


def exists(path: Path) -> bool:
    """Whether there is a file or folder of this name; also False for an invalid name."""
    return _holds(path.exists)


def _holds(test: Any) -> bool:
    try:
        return test()
    except (OSError, ValueError):
        return False


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
