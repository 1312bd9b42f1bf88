"""Untrusted text on a terminal: labels, file names and messages can contain escape sequences."""

import copy
import logging
import sys
import unicodedata
import warnings
from dataclasses import fields, is_dataclass
from typing import Any

HARMLESS = "\n\t"
ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories: control, format, surrogate, separators of lines and paragraphs


def printable(text: object) -> str:
    """The text with every control character but line breaks and tabs escaped, as ``\\x1b``.

    Surrogates, which stand for bytes of a file name that are not UTF-8, and characters that change the direction of
    the text are escaped too. For a result, a report or another object that is not a text, line breaks in its names and
    labels are escaped as well, so that none of them can look like a line of the command. JSON output has its own
    escapes and is not changed.
    """
    return "".join(
        char if char in HARMLESS or unicodedata.category(char) not in ESCAPED else ascii(char)[1:-1]
        for char in (text if isinstance(text, str) else str(names_on_one_line(text)))
    )


def name_on_one_line(name: str) -> str:
    """A file name or a label as :func:`printable`, its line breaks escaped."""
    return printable(name).replace("\n", "\\n")


def one_line(text: object) -> str:
    """As :func:`printable`, on one line."""
    return printable(" ".join(str(text).splitlines()))


def names_on_one_line(value: Any) -> Any:
    """A copy of a value, with the line breaks of all texts in it escaped."""
    if isinstance(value, str):
        return value.replace("\n", "\\n")
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(names_on_one_line, value))
    if isinstance(value, tuple | list):
        return type(value)(map(names_on_one_line, value))
    if isinstance(value, dict):
        return {names_on_one_line(key): names_on_one_line(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        changed = copy.copy(value)
        for field in fields(value):
            object.__setattr__(changed, field.name, names_on_one_line(getattr(value, field.name)))
        return changed
    return value


def show(*texts: object) -> None:
    """Print texts on stdout, one per line, as :func:`printable`."""
    print(*map(printable, texts), sep="\n", flush=True)


def prepare_terminal() -> None:
    """Settings for the process of a command: every text is printable in the terminal's encoding, log messages are one
    line, and libraries that decode files print no warnings of their own."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logging.getLogger("saccade").addHandler(handler)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"saccade: {one_line(record.getMessage())}"
