"""Result of multi-label classification."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from saccade.engine.notebook import NotebookPicture
from saccade.reporting.draw import caption


@dataclass(frozen=True)
class MultiLabel(NotebookPicture):
    """The labels of one image.

    Attributes:
        name: name of the image.
        labels: those whose score reaches their threshold, best first; () for none.
        top: (label, score), best first. A score is the sigmoid of a logit, in [0, 1]; scores do not sum to 1.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "rank", "label", "score", "present")

    name: str
    labels: tuple[str, ...]
    top: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        scores = ", ".join(f"{label} {score:.1%}" for label, score in self.top)
        return f"{self.name}: {', '.join(self.labels) or 'no label'} ({scores})"

    def to_dict(self) -> dict[str, Any]:
        top = [{"label": label, "score": score} for label, score in self.top]
        return {"image": self.name, "labels": list(self.labels), "top": top}

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (self.name, rank, label, f"{score:.6f}", int(label in self.labels))
            for rank, (label, score) in enumerate(self.top, 1)
        ]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The image with its best labels and their scores below it; "+" marks those that reach their threshold."""
        return caption(image, [f"{'+ ' if label in self.labels else '  '}{label}  {s:.1%}" for label, s in self.top])

    def files(self) -> Mapping[str, bytes]:
        return {}
