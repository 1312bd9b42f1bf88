"""The messages of libtiff, which decodes TIFF inside Pillow and prints errors of a file on stderr.

They are collected here instead, so that a caller can add the file's name. This works only if Pillow's own copy of the
library is found, as in its wheels for Linux; otherwise libtiff prints.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

LONGEST = 500  # bytes of a message
Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


class _Collected(threading.local):
    """The messages of one thread; None if they are not collected."""

    lines: list[str] | None = None


COLLECTED = _Collected()


@contextmanager
def libtiff_messages() -> Iterator[list[str]]:
    """The messages of libtiff in this thread while the ``with`` block runs, each in one line."""
    _install()
    before, COLLECTED.lines = COLLECTED.lines, []
    try:
        yield COLLECTED.lines
    finally:
        COLLECTED.lines = before


@cache
def _install() -> tuple[object, ...]:
    """Replace the handlers that print; the result keeps the new ones alive."""
    try:  # the libraries of this process
        mapped = {
            line.split(maxsplit=5)[-1].strip()
            for line in Path("/proc/self/maps").read_text().split("\n")
            if "libtiff" in line
        }
    except OSError:
        return ()
    handlers = []
    for path in mapped:
        library = ctypes.CDLL(path)
        handler = Handler(_collect)
        library.TIFFSetErrorHandler(handler)
        library.TIFFSetWarningHandler(handler)
        handlers.append(handler)
    return tuple(handlers)


def _collect(module: bytes | None, template: bytes, arguments: int) -> None:
    text = ctypes.create_string_buffer(LONGEST)
    ctypes.CDLL(None).vsnprintf(text, LONGEST, template, ctypes.c_void_p(arguments))
    if COLLECTED.lines is not None:
        part = f"{module.decode('utf-8', 'replace')}: " if module else ""
        COLLECTED.lines.append(" ".join(f"{part}{text.value.decode('utf-8', 'replace')}".split()))
