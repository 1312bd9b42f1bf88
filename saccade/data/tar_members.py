"""Members of tars by the path of a file: ``shards/train-000000.tar/00000012.jpg``."""

import io
from functools import lru_cache
from pathlib import Path
from typing import IO

from saccade.data.storage import TarStorage
from saccade.errors import ImageError

SUFFIX = ".tar"


@lru_cache(maxsize=16)
def _storage(tar: Path, changed: int) -> TarStorage:
    return TarStorage([tar])


def opened(tar: Path) -> TarStorage:
    """The index of a tar; those of the last few tars are cached until they change."""
    return _storage(tar, tar.stat().st_mtime_ns)


def member_paths(tar: Path) -> list[Path]:
    """The path of every member.

    Raises:
        DataError: the tar cannot be read.
    """
    return [tar.parent / name for name in opened(tar).names]


def open_member(path: Path) -> IO[bytes] | None:
    """The content of a member; None for a path that is not inside a tar.

    Raises:
        DataError: the tar cannot be read.
        ImageError: it has no such member.
    """
    if SUFFIX not in str(path):
        return None
    tar = next((parent for parent in path.parents if parent.suffix == SUFFIX and parent.is_file()), None)
    if tar is None:
        return None
    storage, name = opened(tar), path.relative_to(tar.parent).as_posix()
    try:
        return io.BytesIO(storage.read(name))
    except KeyError:
        raise ImageError(f"{tar} has no member {path.relative_to(tar).as_posix()}") from None
