"""What every analysis returns: a line or table for people, plain values for JSON, rows for CSV."""

import math
from typing import Any, ClassVar, Protocol

import numpy as np


class AnalysisResult(Protocol):
    """The numbers of one analysis. How they are drawn is a function of `saccade.reporting`."""

    columns: ClassVar[tuple[str, ...]]  # of :meth:`rows`

    def __str__(self) -> str:
        """A summary for people."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them: None for what is not defined."""
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
