"""Plain JPEGs as tensors of 8-bit levels, for data sets: bitwise equal to Pillow's decoder, without an intermediate PIL
image.

Both libraries call libjpeg-turbo with its defaults. Other files (CMYK, rotated by EXIF, several pictures, damaged,
above the limit of pixels) are read by Pillow, with its result or error.
"""

import importlib.util
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from PIL import ExifTags, Image
from torch import Tensor

from saccade.data.image_formats import DAMAGE, HEAD_BYTES, kind_of, open_image, quiet_decoders
from saccade.data.images import MAX_PIXELS, read_image
from saccade.errors import ImageError

AS_IT_IS = 0  # torchvision's ImageReadMode.UNCHANGED
EXTENSIONS = ("image_stable.so", "image.so")  # of torchvision's folder: 0.29 and later, and before


def read_pixels(
    data: bytes, *, channels: int = 3, name: str = "the image", max_pixels: int = MAX_PIXELS
) -> Image.Image | Tensor:
    """Read the bytes of an image file for a data set.

    Args:
        data: bytes of the file.
        channels, name, max_pixels: as for :func:`saccade.data.images.read_image`.

    Returns:
        ``[C, H, W]`` uint8 of an upright JPEG in RGB or grey; for every other file the result of ``read_image``.

    Raises:
        ImageError: as ``read_image``.
    """
    pixels = _plain_jpeg(data, channels, name, max_pixels) if kind_of(data[:HEAD_BYTES]) == "JPEG" else None
    return read_image(data, channels=channels, name=name, max_pixels=max_pixels) if pixels is None else pixels


def _plain_jpeg(data: bytes, channels: int, name: str, max_pixels: int) -> Tensor | None:
    """``[C, H, W]`` uint8, decoded after the check of the header; None for files that Pillow must read."""
    decode = decoder()
    if decode is None:
        return None
    try:
        header = open_image(io.BytesIO(data), name, ("JPEG",), max_pixels)
        with quiet_decoders():
            turned = header.getexif().get(ExifTags.Base.Orientation, 1) != 1
        bands = {"L": 1, "RGB": 3}.get(header.mode, 0)
        # Colour as grey has Pillow's rounding: libjpeg's own grey is another.
        if turned or header.format != "JPEG" or not bands or channels not in (bands, 3):
            return None
        pixels: Tensor = decode(torch.frombuffer(bytearray(data), dtype=torch.uint8), AS_IT_IS, False)  # [bands, H, W]
    except (ImageError, *DAMAGE):
        return None
    if tuple(pixels.shape) != (bands, header.height, header.width):
        return None
    return pixels.expand(channels, -1, -1)


@cache
def decoder() -> Callable[[Tensor, int, bool], Tensor] | None:
    """torchvision's decoder, from its compiled extension only: importing the package takes as long as PyTorch, in each
    process that reads images. None if the package or the extension is missing: Pillow then decodes everything."""
    spec = importlib.util.find_spec("torchvision")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for path in (Path(folder) / name for folder in folders for name in EXTENSIONS):
        if path.is_file():
            try:
                torch.ops.load_library(path)
                return torch.ops.image.decode_jpeg
            except (OSError, AttributeError):  # built for another PyTorch
                return None
    return None
