"""What a task returns, as its callers see it: a result for one input, metrics for a split. Loads no torch."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np


class Result(Protocol):
    """What a model predicts for one input: printable, drawable, and plain values for programs."""

    columns: ClassVar[tuple[str, ...]]  # of :meth:`rows`

    @property
    def name(self) -> str:
        """Which input: its path, or its place in the list."""
        ...

    def __str__(self) -> str: ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        ...

    def records(self) -> list[dict[str, Any]]:
        """What `predict --json` prints for this input: one object, or one for each thing in it."""
        ...

    def rows(self) -> list[tuple[Any, ...]]:
        """Rows of a table with :attr:`columns`."""
        ...

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The prediction drawn over the image, both ``[H, W, 3]`` uint8."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """Further files for programs, such as a depth map: ending of the file name (``"-depth.npy"``) -> content."""
        ...


class Metrics(Protocol):
    """How well a model did on a split."""

    @property
    def count(self) -> int:
        """Images or texts that were measured."""
        ...

    @property
    def selection(self) -> float:
        """The number by which the best weights are selected, higher is better."""
        ...

    @property
    def warning(self) -> str:
        """What is wrong as a whole, in a sentence, or ""."""
        ...

    def __str__(self) -> str:
        """One line for people."""
        ...

    def scalars(self) -> dict[str, float]:
        """The main metrics by name: a line of the run's log."""
        ...

    def table(self) -> str:
        """Figures by class as a text table, or ""."""
        ...

    def to_dict(self) -> dict[str, Any]: ...
