"""A confusion matrix for a page."""

from collections.abc import Sequence
from typing import Any

LARGEST_CONFUSION = 40  # classes; larger matrices are not shown whole


def confusion_rows(confusion: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    """Each cell's count and its fraction of the row, for the shading."""
    return [
        [{"count": n, "share": n / max(sum(row), 1), "right": i == j} for j, n in enumerate(row)]
        for i, row in enumerate(confusion)
    ]
