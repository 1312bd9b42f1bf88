"""Plain JPEGs as tensors of 8-bit levels, for data sets: the bits of Pillow's decoder, without a PIL image on the way.

Both libraries call libjpeg-turbo with its defaults. What is no plain JPEG (CMYK, turned by EXIF, several pictures,
damaged, above the limit of pixels) is read by Pillow, with its result or its error.
"""

import io
from collections.abc import Callable
from typing import Any

import torch
from PIL import ExifTags, Image
from torch import Tensor

from saccade.data.image_formats import DAMAGE, HEAD_BYTES, kind_of, open_image, quiet_decoders
from saccade.data.images import MAX_PIXELS, read_image
from saccade.errors import ImageError

decode_jpeg: Callable[[Tensor], Any] | None
try:
    from torchvision.io import decode_jpeg
except ImportError:  # deprecated since torchvision 0.29: where it is gone, Pillow decodes everything
    decode_jpeg = None


def read_pixels(
    data: bytes, *, channels: int = 3, name: str = "the image", max_pixels: int = MAX_PIXELS
) -> Image.Image | Tensor:
    """Read the bytes of an image file for a data set.

    Args:
        data: of the file.
        channels, name, max_pixels: as for :func:`saccade.data.images.read_image`.

    Returns:
        ``[C, H, W]`` uint8 of an upright JPEG in RGB or grey; of every other file what ``read_image`` returns.

    Raises:
        ImageError: as ``read_image``.
    """
    pixels = _plain_jpeg(data, channels, name, max_pixels) if kind_of(data[:HEAD_BYTES]) == "JPEG" else None
    return read_image(data, channels=channels, name=name, max_pixels=max_pixels) if pixels is None else pixels


def _plain_jpeg(data: bytes, channels: int, name: str, max_pixels: int) -> Tensor | None:
    """``[C, H, W]`` uint8, decoded behind the check of the header; None for what Pillow has to read."""
    if decode_jpeg is None:
        return None
    try:
        header = open_image(io.BytesIO(data), name, ("JPEG",), max_pixels)
        with quiet_decoders():
            turned = header.getexif().get(ExifTags.Base.Orientation, 1) != 1
        bands = {"L": 1, "RGB": 3}.get(header.mode, 0)
        # Colour as grey has Pillow's rounding: libjpeg's own grey is another.
        if turned or header.format != "JPEG" or not bands or channels not in (bands, 3):
            return None
        pixels: Tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))  # [bands, H, W]
    except (ImageError, *DAMAGE):
        return None
    if tuple(pixels.shape) != (bands, header.height, header.width):
        return None
    return pixels.expand(channels, -1, -1)
