"""Atomic writes of files and folders: complete or absent, even if the process is killed.

Content is written to a temporary name next to its target, flushed to the disk, and renamed over the target: a rename is
atomic in a file system. Before it the old content is unchanged (also if the disk is full); after it the new content is
complete. A killed process leaves only names that start with `.` and end in `.tmp`.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from saccade.errors import CheckpointError
from saccade.files import is_file, open_regular
from saccade.json_io import read_json_file

MANIFEST = "manifest.json"
MAX_NAME_BYTES = 255 - len("..123456789abc.tmp")  # of a file whose temporary name is allowed by Linux, macOS, Windows


def write_atomic(path: str | Path, content: bytes | Callable[[Path], object]) -> str:
    """Write a file atomically, and return the SHA-256 of its content as 64 hexadecimal digits.

    content: the bytes, or a function that writes them to the (temporary) path that is its argument. An error of the
    function, or a full disk, leaves the old file unchanged and no temporary file. The folder must exist.
    """
    path = Path(path)
    temporary = _temporary_beside(path)
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # after the umask; some writers, such as safetensors', make private files
        if callable(content):
            content(temporary)
            temporary.chmod(mode)
        else:
            temporary.write_bytes(content)
        digest = sha256_of(temporary)
        _flush(temporary)
        os.replace(temporary, path)
    finally:  # also after Ctrl-C, no partial file remains
        temporary.unlink(missing_ok=True)
    _flush(path.parent)
    return digest


@contextmanager
def new_directory(path: str | Path) -> Iterator[Path]:
    """A temporary folder to fill inside the `with`, which is renamed to `path` at its end and replaces what is there.

    An existing folder is first renamed, and deleted when the new one is in place, so its files are never mixed with
    the new ones. An error inside the `with` leaves the old folder unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_beside(path)
    temporary.mkdir()
    mode = temporary.stat().st_mode & 0o666  # after the umask; some writers, such as safetensors', make private files
    try:
        yield temporary
        for entry in [*temporary.rglob("*"), temporary]:
            if entry.is_file() and not entry.is_symlink():
                entry.chmod(mode)
            _flush(entry)
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _flush(path.parent)


def remove_leftovers(folder: str | Path) -> list[str]:
    """Delete the temporary files and folders of a killed process in `folder`; return their names.

    Only for folders to which no other process writes at the same time, such as a run directory.
    """
    names = []
    for entry in sorted(Path(folder).glob(".*.tmp")):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
        names.append(entry.name)
    return names


def sha256_of(path: str | Path) -> str:
    with open_regular(Path(path), error=CheckpointError) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(folder: str | Path) -> dict[str, str]:
    """Write `manifest.json`: {file path inside the folder: SHA-256} of every file in it. Returns the table."""
    folder = Path(folder)
    digests = {
        entry.relative_to(folder).as_posix(): sha256_of(entry)
        for entry in sorted(folder.rglob("*"))
        if entry.is_file() and entry.name != MANIFEST
    }
    write_atomic(folder / MANIFEST, json.dumps(digests, indent=1).encode())
    return digests


def check_manifest(folder: str | Path) -> None:
    """Raise CheckpointError with the file's name unless every file of the manifest exists and is unchanged."""
    folder = Path(folder)
    if not is_file(folder / MANIFEST):
        raise CheckpointError(f"{folder} has no {MANIFEST}: it is incomplete, or not a checkpoint.")
    digests = read_json_file(folder / MANIFEST, CheckpointError)
    if not isinstance(digests, dict):
        raise CheckpointError(f"{folder / MANIFEST} is damaged: it must be a JSON object of file names and checksums.")
    for name, digest in digests.items():
        inside = folder / name
        if not inside.resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(f"{folder / MANIFEST} names {name!r}, which is outside of its folder: not read.")
        if not inside.is_file():
            raise CheckpointError(f"{folder} is incomplete: {name} is missing.")
        if sha256_of(inside) != digest:
            raise CheckpointError(f"{inside} is damaged: its checksum differs from the one in the manifest.")


def _temporary_beside(path: Path) -> Path:
    """An unused name, within the length limit of file systems."""
    name = os.fsdecode(os.fsencode(path.name)[:MAX_NAME_BYTES])
    return path.with_name(f".{name}.{uuid.uuid4().hex[:12]}.tmp")


def _flush(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(new: Path, path: Path) -> None:
    if not path.exists():
        os.rename(new, path)
        return
    old = _temporary_beside(path)
    os.rename(path, old)
    try:
        os.rename(new, path)
    finally:
        if not path.exists():  # renaming the new one failed: restore the old one
            os.rename(old, path)
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink()
