"""What a kind of run adds to its report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

BUDGET = "1 GiB"  # of one picture's attention


@dataclass(frozen=True)
class Content:
    """The figures of the held-out split, those to show on top, and the section about them."""

    metrics: Any
    tiles: Mapping[str, str]
    section: Markup
