"""A confusion matrix as a page shows it."""

from collections.abc import Sequence
from typing import Any

LARGEST_CONFUSION = 40  # classes; larger matrices are not shown whole


def confusion_rows(confusion: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    """Each cell's number and its fraction of its row, for the shade."""
    return [
        [{"count": n, "share": n / max(sum(row), 1), "right": i == j} for j, n in enumerate(row)]
        for i, row in enumerate(confusion)
    ]
