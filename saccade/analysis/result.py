"""The contract of an analysis's result: text, plain values for JSON, rows for CSV."""

import math
from typing import Any, ClassVar, Protocol

import numpy as np


class AnalysisResult(Protocol):
    """The numbers of one analysis. Functions of `saccade.reporting` draw them."""

    columns: ClassVar[tuple[str, ...]]  # of :meth:`rows`

    def __str__(self) -> str:
        """A text summary."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None for undefined values."""
        ...

    def rows(self) -> list[tuple[Any, ...]]:
        """The rows of a table with :attr:`columns`."""
        ...


def to_plain(values: np.ndarray | float) -> Any:
    """An array as nested lists, or a number: NaN and infinity, which JSON does not have, become None."""
    if isinstance(values, np.ndarray):
        return [to_plain(value) for value in values] if values.ndim else to_plain(values.item())
    number = values.item() if isinstance(values, np.generic) else values
    return None if isinstance(number, float) and not math.isfinite(number) else number
