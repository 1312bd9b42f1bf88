"""Arrays of `.npy` files; their size is compared with that of the file before memory is allocated."""

import math
import tokenize
from typing import IO

import numpy as np

from saccade.errors import ImageError

SUFFIX = ".npy"
SIGNATURE = b"\x93NUMPY"
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    MemoryError, RuntimeError, tokenize.TokenError,
)  # fmt: skip  # raised by NumPy on damaged headers


def npy_shape(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype, from the header at the file's position.

    Raises:
        One of DAMAGE: there is no such header.
    """
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    return shape, dtype


def read_npy(file: IO[bytes], name: str, max_values: int) -> np.ndarray:
    """The array of a ``.npy`` file.

    Args:
        file: open file, at its start.
        name: name of the file in errors.
        max_values: largest number of values.

    Raises:
        ImageError: a damaged header, a truncated file, too many values, or Python objects.
    """
    try:
        shape, dtype = npy_shape(file)
        count = math.prod(int(n) for n in shape)
        if dtype.hasobject:
            raise ImageError(f"{name} holds Python objects, not pixels: store an array of uint8, uint16 or float32")
        if count > max_values or any(n < 0 for n in shape):
            raise ImageError(f"{name} has the shape {list(shape)}: the maximum is {max_values:,} values")
        start = file.tell()
        stored = file.seek(0, 2) - start
        if count * dtype.itemsize > stored:
            raise ImageError(
                f"{name} is cut off: its shape {list(shape)} takes {count * dtype.itemsize:,} bytes, it has {stored:,}"
            )
        file.seek(0)
        return np.load(file, allow_pickle=False)
    except ImageError:
        raise
    except DAMAGE as error:
        unreadable = isinstance(error, tokenize.TokenError | SyntaxError)  # Python's words about its literal
        first = "its header is not that of an array" if unreadable else (str(error).splitlines() or [""])[0]
        raise ImageError(f"{name} is a damaged {SUFFIX}: {first or type(error).__name__}") from None
