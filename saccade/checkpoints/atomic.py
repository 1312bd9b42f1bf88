"""Files and folders that are either whole or absent, whatever moment the process dies at.

A write goes to a temporary name beside its target, is flushed to the disk, and is renamed over the target: a rename
is the one step that a file system makes whole. Before it the old content is untouched (also when the disk is full);
after it the new content is complete. What a killed process leaves behind are names that start with `.` and end in
`.tmp`.
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

MANIFEST = "manifest.json"


def write_atomic(path: str | Path, content: bytes | Callable[[Path], object]) -> str:
    """Write one file whole, and return the SHA-256 of what was written, as 64 hexadecimal digits.

    content: the bytes, or a function that writes them to the (temporary) path it is given. An error of the function,
    or a full disk, leaves the old file as it was and no temporary file. The folder must exist.
    """
    path = Path(path)
    temporary = _temporary_beside(path)
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content)
        digest = sha256_of(temporary)
        _flush(temporary)
        os.replace(temporary, path)
    finally:  # whatever ends the write, Ctrl-C too, no half file stays behind
        temporary.unlink(missing_ok=True)
    _flush(path.parent)
    return digest


@contextmanager
def new_directory(path: str | Path) -> Iterator[Path]:
    """A folder to fill inside the `with`; at its end it appears whole under `path`, in place of what stood there.

    An existing folder is first renamed aside and deleted after the new one stands, so its files are never mixed with
    the new ones. An error inside the `with` leaves the old folder as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        for entry in [*temporary.rglob("*"), temporary]:
            _flush(entry)
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _flush(path.parent)


def remove_leftovers(folder: str | Path) -> list[str]:
    """Delete the temporary files and folders that a killed process left in `folder`; return their names.

    Call it only where no other process writes at the same time: one's own run directory.
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
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    """Raise CheckpointError, naming the file, unless every file of the manifest is there with the content it had."""
    folder = Path(folder)
    try:
        digests = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no {MANIFEST}: it was cut off, or is not a checkpoint.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / MANIFEST} cannot be read ({error}).") from None
    if not isinstance(digests, dict):
        raise CheckpointError(f"{folder / MANIFEST} is damaged: it must be a table of file names and checksums.")
    for name, digest in digests.items():
        inside = folder / name
        if not inside.resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(f"{folder / MANIFEST} names {name!r}, which lies outside its folder: refused.")
        if not inside.is_file():
            raise CheckpointError(f"{folder} is incomplete: {name} is missing.")
        if sha256_of(inside) != digest:
            raise CheckpointError(f"{inside} is damaged: its checksum is not the one that was stored with it.")


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def _flush(path: Path) -> None:
    """Force a file's content, or a folder's list of names, onto the disk."""
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
        if not path.exists():  # the new one did not get there: the old one stays
            os.rename(old, path)
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink()
