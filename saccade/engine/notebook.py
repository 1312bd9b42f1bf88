"""Results in a notebook, drawn over their image if it is available."""

import copy
import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from saccade.data.image_formats import is_image_name
from saccade.data.pictures import read_picture
from saccade.errors import ImageError


class NotebookPicture(ABC):
    """Base of results that a notebook displays as a picture: :meth:`draw` over the file that the result is named after,
    or over the single image in memory that was predicted. Otherwise a notebook prints the result."""

    name: str
    _pixels: Callable[[], np.ndarray] | None = None  # of an image in memory, which is not copied before

    @abstractmethod
    def draw(self, image: np.ndarray) -> np.ndarray:
        """The result over its image, both ``[H, W, 3]`` uint8."""

    def over(self, pixels: Callable[[], np.ndarray]) -> Self:
        """A copy of the result that a notebook displays over an image in memory.

        Args:
            pixels: function that returns the image ``[H, W, 3]`` uint8; called when the result is displayed.
        """
        other = copy.copy(self)
        object.__setattr__(other, "_pixels", pixels)
        return other

    def _repr_png_(self) -> bytes | None:
        try:
            if self._pixels is None:
                path = Path(self.name)
                if not (is_image_name(path.name) and path.is_file()):
                    return None
                pixels = np.asarray(read_picture(path)[0])
            else:
                pixels = self._pixels()
            image = Image.fromarray(self.draw(pixels))
        except (ImageError, OSError):  # the file is gone, or its name is longer than any
            return None
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
