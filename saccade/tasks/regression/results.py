"""Result of regression."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from saccade.engine.notebook import NotebookPicture
from saccade.reporting.draw import caption


@dataclass(frozen=True)
class Regression(NotebookPicture):
    """A number for one image.

    Attributes:
        name: name of the image.
        value: predicted value in the unit of the training values.
        label: name of the value, from the column of the training values.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "value")

    name: str
    value: float
    label: str

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.6g}"

    def to_dict(self) -> dict[str, Any]:
        return {"image": self.name, "value": self.value}

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, f"{self.value:.9g}")]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The image with its value below it."""
        return caption(image, [f"{self.label}  {self.value:.4g}"])

    def files(self) -> Mapping[str, bytes]:
        return {}
