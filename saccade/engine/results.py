"""The contracts of results for one input and of metrics for a split. Loads no torch."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np


class Result(Protocol):
    """A model's prediction for one input: printable, drawable, and available as plain values."""

    columns: ClassVar[tuple[str, ...]]  # of :meth:`rows`

    @property
    def name(self) -> str:
        """Name of the input: its path, or its index in the list."""
        ...

    def __str__(self) -> str: ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ...

    def records(self) -> list[dict[str, Any]]:
        """Output of `predict --json` for this input: one object, or one for each detected instance."""
        ...

    def rows(self) -> list[tuple[Any, ...]]:
        """Rows of a table with :attr:`columns`."""
        ...

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The prediction drawn over the image, both ``[H, W, 3]`` uint8."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """Further data files, such as a depth map: ending of the file name (``"-depth.npy"``) -> content."""
        ...


class Metrics(Protocol):
    """Metrics of a model on a split."""

    @property
    def count(self) -> int:
        """Number of images or texts."""
        ...

    @property
    def selection(self) -> float:
        """The number by which the best weights are selected, higher is better."""
        ...

    @property
    def warning(self) -> str:
        """A warning about the result as a whole, in one sentence, or ""."""
        ...

    def __str__(self) -> str:
        """The metrics in one line."""
        ...

    def scalars(self) -> dict[str, float]:
        """The main metrics by name: a line of the run's log."""
        ...

    def table(self) -> str:
        """Metrics by class as a text table, or ""."""
        ...

    def to_dict(self) -> dict[str, Any]: ...
