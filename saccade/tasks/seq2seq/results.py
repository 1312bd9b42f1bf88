"""Result of sequence to sequence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from saccade.engine.notebook import NotebookPicture
from saccade.reporting.draw import caption


@dataclass(frozen=True)
class Text(NotebookPicture):
    """A generated text.

    Attributes:
        name: the path of the source image, or the source text.
        text: generated text without special tokens.
    """

    columns: ClassVar[tuple[str, ...]] = ("source", "text")
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        return {"source": self.name, "text": self.text}

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, self.text)]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The image with the text below it."""
        return caption(image, [self.text])

    def files(self) -> Mapping[str, bytes]:
        return {}
