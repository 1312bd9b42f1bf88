"""A table of classes that can be sorted by any column, and is folded if there are many, without a script.

The page forbids scripts. Each row has its rank in every column as a CSS variable, and a radio button next to the table
selects the one that orders the rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from saccade.reporting.report import template

OPEN = 20  # rows of a table that is shown whole; of a longer one the first ones, and all of it folded
SHOWN = 10  # rows of a folded table that are always shown
LARGEST = 1000  # rows


@dataclass(frozen=True)
class Column:
    """One figure of every class.

    Attributes:
        name: heading of the column.
        values: one per class; None or NaN if undefined, which comes last in every order.
        texts: the values as shown.
        descending: whether the largest value comes first, as for counts.
    """

    name: str
    values: Sequence[float | None]
    texts: Sequence[str]
    descending: bool = False


def class_table(heading: str, labels: Sequence[str], columns: Sequence[Column]) -> Markup:
    """The table of N classes, in the order of its first column.

    Args:
        heading: heading of the column of names, such as "class".
        labels: N names.
        columns: columns of N values each; the rows are initially ordered by the first.
    """
    orders = [_order(column) for column in columns]
    names = sorted(range(len(labels)), key=lambda index: labels[index].casefold())
    shown = orders[0][:LARGEST]
    places = [_places(order) for order in (names, *orders)]
    rows = [
        {
            "label": labels[index],
            "texts": [column.texts[index] for column in columns],
            "places": [place[index] for place in places],
        }
        for index in shown
    ]
    return Markup(
        template("saccade.reporting", "class_table").render(
            id=f"by-{heading}",
            heads=[heading, *(column.name for column in columns)],
            rows=rows,
            total=len(labels),
            first=rows[:SHOWN] if len(rows) > OPEN else [],
        )
    )


def _order(column: Column) -> list[int]:
    """The classes from first to last."""
    sign = -1 if column.descending else 1

    def key(index: int) -> tuple[bool, float]:
        value = column.values[index]
        if value is None or math.isnan(value):
            return True, 0.0
        return False, sign * value

    return sorted(range(len(column.values)), key=key)


def _places(order: Sequence[int]) -> list[int]:
    """The rank of each class in an order."""
    places = [0] * len(order)
    for place, index in enumerate(order):
        places[index] = place
    return places
