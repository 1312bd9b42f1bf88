"""Text of others on a terminal: labels, file names and messages can hold escape sequences."""

import unicodedata

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
