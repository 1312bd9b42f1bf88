"""Text of others on a terminal: labels, file names and messages can hold escape sequences."""

import logging
import sys
import unicodedata
import warnings

HARMLESS = "\n\t"


def printable(text: object) -> str:
    """The text with every control character but line breaks and tabs escaped, as ``\\x1b``.

    Surrogates, which stand for bytes of a file name that are not UTF-8, and characters that change the direction of
    the text are escaped too. JSON output needs none of this: it has its own escapes and stays whole.
    """
    return "".join(
        char if char in HARMLESS or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else ascii(char)[1:-1]
        for char in str(text)
    )


def one_line(text: object) -> str:
    """As :func:`printable`, on one line."""
    return printable(" ".join(str(text).splitlines()))


def show(*texts: object) -> None:
    """Print texts on stdout, each from a new line, as :func:`printable`."""
    print(*map(printable, texts), sep="\n", flush=True)


def prepare_terminal() -> None:
    """For the process of a command: no text is beyond what the terminal's encoding can print, messages of the log are
    one line, and libraries that decode files do not print warnings of their own beside ours."""
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
