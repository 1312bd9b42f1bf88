"""Result of classification."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from saccade.engine.notebook import NotebookPicture
from saccade.reporting.draw import caption


@dataclass(frozen=True)
class Classification(NotebookPicture):
    """The best classes of one image.

    Attributes:
        name: name of the image.
        label: the best class.
        score: the probability of that class.
        top: (class, probability), best first.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "rank", "label", "score")

    name: str
    label: str
    score: float
    top: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return f"{self.name}: " + ", ".join(f"{label} {score:.1%}" for label, score in self.top)

    def to_dict(self) -> dict[str, Any]:
        top = [{"label": label, "score": score} for label, score in self.top]
        return {"image": self.name, "label": self.label, "score": self.score, "top": top}

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, rank, label, f"{score:.6f}") for rank, (label, score) in enumerate(self.top, 1)]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The image with its best classes and their probabilities below it."""
        return caption(image, [f"{label}  {score:.1%}" for label, score in self.top])

    def files(self) -> Mapping[str, bytes]:
        return {}
