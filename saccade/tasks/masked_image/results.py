"""Result of masked image modelling: the reconstruction of the masked patches of an image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from saccade.engine.notebook import NotebookPicture
from saccade.engine.pixel_map import PixelMap
from saccade.reporting.draw import caption, to_png

GAP = 8  # white pixels between pictures


@dataclass(frozen=True)
class Reconstruction(NotebookPicture):
    """One image with some of its patches masked and reconstructed.

    Attributes:
        name: of the image.
        loss: mean over the masked patches: squared error of pixels, or cross-entropy of colours in nats.
        num_masked, num_patches: patches that are masked, and all.
        original: the preprocessed image, ``[H, W, 3]`` uint8.
        masked: the image with its masked patches in grey.
        reconstruction: the image with its masked patches as predicted.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "loss", "masked_patches", "patches")

    name: str
    loss: float
    num_masked: int
    num_patches: int
    original: np.ndarray = field(repr=False)
    masked: np.ndarray = field(repr=False)
    reconstruction: np.ndarray = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name}: loss {self.loss:.4f} on {self.num_masked} masked patches of {self.num_patches}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "image": self.name, "loss": self.loss, "masked_patches": self.num_masked, "patches": self.num_patches,
        }  # fmt: skip

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, f"{self.loss:.6f}", self.num_masked, self.num_patches)]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The model's view of the image, with its patches masked, and reconstructed, side by side."""
        views = {"original": self.original, "masked": self.masked, "reconstruction": self.reconstruction}
        pictures = [caption(view, [title]) for title, view in views.items()]
        gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
        return np.concatenate([pictures[0], gap, pictures[1], gap, pictures[2]], axis=1)

    def pixel_map(self, image: np.ndarray) -> PixelMap:
        """The image with its masked patches as predicted."""
        caption = f"Reconstruction: loss {self.loss:.4f} on {self.num_masked} masked patches of {self.num_patches}"
        return PixelMap(self.reconstruction, None, caption=caption, of_view=True)

    def files(self) -> Mapping[str, bytes]:
        """The reconstruction in the model's own size."""
        return {"-reconstruction.png": to_png(self.reconstruction)}


def to_pixels(levels: np.ndarray) -> np.ndarray:
    """Images ``[B, C, H, W]`` of levels from 0 to 1 -> ``[B, H, W, 3]`` uint8; of one channel in grey."""
    pixels = (levels.clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels if pixels.shape[-1] == 3 else pixels[..., :1].repeat(3, axis=-1)
