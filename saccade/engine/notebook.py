"""Results in a notebook: drawn over their image where that is at hand."""

import copy
import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from saccade.data.images import ImageLike, is_image_name, read_image, rgb_pixels
from saccade.errors import ImageError


class NotebookPicture(ABC):
    """Base of results that a notebook displays as a picture: :meth:`draw` over the file that the result is named after,
    or over the one image in memory that was predicted. Without either a notebook prints the result."""

    name: str
    _image = None  # an image in memory; a reference, never a copy

    @abstractmethod
    def draw(self, image: np.ndarray) -> np.ndarray:
        """The result over its image, both ``[H, W, 3]`` uint8."""

    def over(self, image: ImageLike) -> Self:
        """The same result, which a notebook displays over this image; a reference to the image is kept."""
        other = copy.copy(self)
        object.__setattr__(other, "_image", image)
        return other

    def _repr_png_(self) -> bytes | None:
        source = Path(self.name) if self._image is None else self._image
        try:
            if isinstance(source, Path) and not (is_image_name(source.name) and source.is_file()):
                return None
            image = Image.fromarray(self.draw(rgb_pixels(read_image(source))))
        except (ImageError, OSError):  # the file is gone, or its name is longer than any
            return None
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
