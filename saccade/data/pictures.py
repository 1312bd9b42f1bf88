"""Image files as upright 8-bit pictures of mode "L" or "RGB". Loads no torch."""

import io
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps

from saccade.data.image_formats import (
    DAMAGE,
    HEAD_BYTES,
    MAX_PIXELS,
    damage_behind,
    first_line,
    has_more_frames,
    open_image,
    open_image_file,
    quiet_decoders,
    refuse_larger,
)
from saccade.data.libtiff import libtiff_messages
from saccade.data.npy import SIGNATURE
from saccade.errors import ImageError

LARGEST_SCALED = 4  # times the limit: what a JPEG may have that is decoded at a smaller scale
log = logging.getLogger("saccade")


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, an ``io.BytesIO``, an upload."""

    def read(self, size: int = -1, /) -> bytes: ...


FileLike = str | Path | bytes | BinaryFile | Image.Image
Picture = tuple[Image.Image, tuple[int, int]]  # the image, and the (H, W) of the upright original in pixels


def read_picture(source: FileLike, *, channels: int = 3, max_pixels: int = MAX_PIXELS) -> Picture:
    """An image file as :func:`saccade.data.images.read_scaled` reads it, for models of 1 or 3 channels.

    Args:
        source: a path, the bytes of an image file, an open file or a PIL image.
        channels: 1 gives mode "L", 3 gives "RGB".
        max_pixels: largest number of pixels, but a JPEG of up to four times as many is decoded at half its resolution.

    Raises:
        ImageError: not an image, damaged, above `max_pixels`, or an array file (`.npy`).
    """
    if isinstance(source, Image.Image):
        return picture_of(source, channels, getattr(source, "filename", "") or "the image", max_pixels, True)
    if isinstance(source, str | Path):
        name = str(source)
        with open_image_file(Path(source), name) as file:
            content = file.read()
    else:
        name = "the image" if isinstance(source, bytes) else str(getattr(source, "name", "") or "the image")
        content = source if isinstance(source, bytes) else source.read()
    if content[:HEAD_BYTES].startswith(SIGNATURE):
        raise ImageError(f"{name} is an array of NumPy: an exported model reads image files")
    return picture_of(open_image(io.BytesIO(content), name, max_pixels=None), channels, name, max_pixels, True)


def picture_of(image: Image.Image, channels: int, name: str, max_pixels: int, scaled: bool) -> Picture:
    """A PIL image as an upright picture for a model of 1 or 3 channels.

    Args:
        image: PIL image, possibly not decoded yet.
        channels: 1 or 3.
        name: name of the image in errors.
        max_pixels: largest number of pixels.
        scaled: whether a JPEG of up to four times `max_pixels` is decoded at half its resolution.
    """
    width, height = image.size
    mode = "L" if channels == 1 else "RGB"
    if width * height > max_pixels and scaled and width * height <= LARGEST_SCALED * max_pixels:
        image.draft(None, ((width + 1) // 2, (height + 1) // 2))  # decodes at 1/2; for a JPEG only
        log.info("%s has %d x %d pixels and is decoded as %d x %d", name, width, height, *image.size)
    if image.width * image.height > max_pixels:
        refuse_larger((width, height), max_pixels, name)
    lines: list[str] = []
    try:
        with quiet_decoders(), libtiff_messages() if image.format == "TIFF" else nullcontext(lines) as lines:
            image.load()
            upright = ImageOps.exif_transpose(image)
        turned = upright.size != image.size
        picture = _to_mode(upright, mode, name), (width, height) if turned else (height, width)
    except ImageError:
        raise
    except DAMAGE as error:
        more = f" ({lines[0]})" if lines else ""
        raise ImageError(f"{name} is damaged or cut off: {first_line(error)}{more}") from None
    if lines:
        log.warning("%s is damaged in part: %s", name, lines[0])
    elif damage := damage_behind(image):
        log.warning("%s is damaged after its first frame, which is read: %s", name, damage)
    if log.isEnabledFor(logging.INFO) and has_more_frames(image):
        log.info("%s has several frames; the first is read", name)
    return picture


def _to_mode(image: Image.Image, mode: str, name: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image, name)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _to_eight_bits(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise ImageError(f"{name} has floating-point values outside [0, 1], so their scale is unknown")
        return Image.fromarray((values * 255).round().astype(np.uint8))
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name} has integer values beyond 16 bits, so their scale is unknown")
    return Image.fromarray((values.astype(np.float64) / 257).round().astype(np.uint8))
