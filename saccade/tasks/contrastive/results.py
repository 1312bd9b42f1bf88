"""Result of a model of images and texts, or of an encoder without a head: the embedding of an image."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from saccade.engine.notebook import NotebookPicture
from saccade.reporting.draw import caption

SHOWN = 4  # values that are printed


@dataclass(frozen=True)
class Embedding(NotebookPicture):
    """The embedding of one image: a unit vector in the space of images and texts, or the features of an encoder.

    Attributes:
        name: of the image.
        vector: ``[E]`` float32; of a CLIP, its product with the vector of a text is their cosine.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "vector")

    name: str
    vector: np.ndarray = field(repr=False)

    def __str__(self) -> str:
        values = " ".join(f"{value:.3f}" for value in self.vector[:SHOWN])
        dots = " …" if len(self.vector) > SHOWN else ""
        return f"{self.name}: embedding of {len(self.vector)} values, {values}{dots}"

    def to_dict(self) -> dict[str, Any]:
        return {"image": self.name, "vector": self.vector.tolist()}

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, " ".join(f"{value:.7g}" for value in self.vector))]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The image above the first values of its embedding; classes and texts are for `saccade zeroshot` and
        `saccade search`."""
        return caption(image, [str(self).removeprefix(f"{self.name}: ")])

    def files(self) -> Mapping[str, bytes]:
        """The vector."""
        buffer = io.BytesIO()
        np.save(buffer, self.vector)
        return {"-embedding.npy": buffer.getvalue()}
