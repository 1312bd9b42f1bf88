"""JSON that others wrote, and JSON for others: every reader and writer of the package goes through here.

Loads no torch.
"""

import json
import math
from pathlib import Path
from typing import Any

from saccade.errors import DataError, SaccadeError

MAX_BYTES = 4 * 2**30  # of a file; the annotations of the largest public data sets take 1 GiB


def parse_json(text: str | bytes, name: object, error: type[SaccadeError] = DataError) -> Any:
    """The value that a JSON text holds.

    Args:
        text: UTF-8, with or without a byte order mark.
        name: of the file, for errors.
        error: the class of errors to raise.

    Raises:
        SaccadeError: of the class `error`, in one line: no UTF-8, no JSON, or nested deeper than Python reads.
    """
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff"))
    except RecursionError:
        raise error(f"{name} is not readable JSON: it is nested too deeply") from None
    except (ValueError, MemoryError) as problem:  # a UnicodeDecodeError is a ValueError
        raise error(f"{name} is not readable JSON: {problem or 'it does not fit into memory'}") from None


def read_json_file(path: Path, error: type[SaccadeError] = DataError) -> Any:
    """The value in a JSON file; errors as :func:`parse_json`, also for a file that cannot be read."""
    try:
        if not path.is_file() and path.exists():
            raise error(f"{path} is not a file")
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path} has more than {MAX_BYTES // 2**30} GiB: not read")
        content = path.read_bytes()
    except (OSError, ValueError, MemoryError) as problem:
        raise error(f"{path} cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    return parse_json(content, path, error)


def dump_json(content: Any, *, indent: int | None = 1) -> str:
    """JSON text that every parser reads: numbers that are not finite, which JSON does not have, become null."""
    return json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
