"""Reading of untrusted JSON, and writing of JSON: used by every reader and writer of the package.

Loads no torch.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from saccade.errors import DataError, SaccadeError
from saccade.files import read_bytes

# They stand for bytes of a file name that are not UTF-8, control a terminal, or reorder its line; JSON has escapes.
ESCAPED = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def parse_json(text: str | bytes, name: object, error: type[SaccadeError] = DataError) -> Any:
    """The value of a JSON text.

    Args:
        text: UTF-8, with or without a byte order mark.
        name: name of the file, for errors.
        error: the class of errors to raise.

    Raises:
        SaccadeError: of the class `error`, in one line: not UTF-8, not JSON, or nested too deeply for Python.
    """
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff"))
    except RecursionError:
        raise error(f"{name} is not readable JSON: it is nested too deeply") from None
    except (ValueError, MemoryError) as problem:  # a UnicodeDecodeError is a ValueError
        raise error(f"{name} is not readable JSON: {problem or 'it does not fit into memory'}") from None


def read_json_file(path: Path, error: type[SaccadeError] = DataError) -> Any:
    """The value in a JSON file; errors as :func:`parse_json`, also for a file that cannot be read."""
    return parse_json(read_bytes(path, error=error), path, error)


def dump_json(content: Any, *, indent: int | None = 1) -> str:
    """JSON text that every parser reads and every terminal prints: non-finite numbers, which JSON does not have, become
    null, and bytes of a file name that are not UTF-8 become escapes."""
    text = json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    return ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
