"""Reading of untrusted image files: an upright image with 8 bits per channel, or one clear error.

EXIF orientation is applied once; 16-bit values are divided by 257; transparent images are composited over white;
palettes and CMYK are converted to RGB; of an animation or a multi-page document the first frame is read. Colour
profiles are not applied.
"""

import io
import logging
import struct
import zlib
from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from saccade.errors import ImageError

# An explicit list, so that no other decoder of the library runs on untrusted bytes (EPS starts an interpreter).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "MPO")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm")
MAX_PIXELS = 40_000_000  # checked on the header, before any pixel is decoded
log = logging.getLogger("saccade")

# Raised by decoders on damaged bytes.
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of an image format."""
    return name.lower().endswith(SUFFIXES)


FileLike = str | Path | bytes | Image.Image
Numbers = np.ndarray | Tensor


@overload
def read_image(source: FileLike, *, channels: int = 3, name: str | None = None) -> Image.Image: ...
@overload
def read_image(source: Numbers, *, channels: int = 3, name: str | None = None) -> Tensor: ...
@overload
def read_image(source: FileLike | Numbers, *, channels: int = 3, name: str | None = None) -> Image.Image | Tensor: ...
def read_image(source: FileLike | Numbers, *, channels: int = 3, name: str | None = None) -> Image.Image | Tensor:
    """Read one image.

    Args:
        source: a path, the bytes of an image file, a PIL image, an array ``[H, W]`` or ``[H, W, C]`` (uint8, uint16,
            or float in [0, 1]), or a tensor ``[C, H, W]`` (uint8, or float in [0, 1]).
        channels: of the model: 1 gives mode "L", 3 gives "RGB"; other numbers accept arrays and tensors only.
        name: the name of the image in errors; by default its path.

    Returns:
        an upright PIL image of mode "L" or "RGB"; for arrays and tensors ``[C, H, W]`` float32 in [0, 1].

    Raises:
        ImageError: not an image, damaged, above 40 megapixels, or of an unsupported format or bit depth.
    """
    if isinstance(source, np.ndarray | Tensor):
        return _from_numbers(source, channels, name or "the image")
    if channels not in (1, 3):
        raise ImageError(f"{name or 'an image file'}: a model with {channels} channels accepts arrays and tensors only")
    if isinstance(source, Image.Image):
        return _read_pil(source, channels, name or getattr(source, "filename", "") or "the image")
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), channels, name or "the image")
    path = Path(source)
    name = name or str(path)
    if path.is_dir():
        raise ImageError(f"{name} is a folder, not an image")
    try:
        with open(path, "rb") as file:
            return _decode(file, channels, name)
    except FileNotFoundError:
        raise ImageError(f"{name}: there is no such file") from None
    except PermissionError:
        raise ImageError(f"{name}: permission denied") from None


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of an image file as :func:`read_image` reads it, from its header alone.

    Raises:
        ImageError: it is not an image of a supported format.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            return image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
    except Image.UnidentifiedImageError:
        raise ImageError(f"{path} is not an image of a supported format ({', '.join(FORMATS)})") from None
    except DAMAGE as error:
        raise ImageError(f"{path} is damaged: {_first_line(error)}") from None


def _decode(file, channels: int, name: str) -> Image.Image:
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name} is not an image of a supported format ({', '.join(FORMATS)})") from None
    except (FileNotFoundError, PermissionError):
        raise
    except DAMAGE as error:
        raise ImageError(f"{name} is damaged: {_first_line(error)}") from None
    return _read_pil(image, channels, name)


def _read_pil(image: Image.Image, channels: int, name: str) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels; the maximum is {MAX_PIXELS // 10**6} megapixels"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        log.info("%s has %d frames; the first is read", name, frames)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return _to_mode(upright, "L" if channels == 1 else "RGB", name)
    except ImageError:
        raise
    except DAMAGE as error:
        raise ImageError(f"{name} is damaged or cut off: {_first_line(error)}") from None


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


def _from_numbers(source: np.ndarray | Tensor, channels: int, name: str) -> Tensor:
    if isinstance(source, np.ndarray):
        if source.ndim not in (2, 3):
            raise ImageError(f"{name}: an image array has the shape [H, W] or [H, W, C], not {list(source.shape)}")
        values = torch.from_numpy(np.ascontiguousarray(source))
        values = values[None] if values.ndim == 2 else values.permute(2, 0, 1)
    else:
        values = source[None] if source.ndim == 2 else source
        if values.ndim != 3:
            raise ImageError(f"{name}: an image tensor has the shape [C, H, W], not {list(source.shape)}")
    if not all(values.shape):
        raise ImageError(f"{name} is empty: {list(values.shape)}")
    if values.dtype == torch.uint8:
        values = values.float() / 255
    elif values.dtype == torch.uint16:
        values = values.float() / 65535
    elif values.is_floating_point():
        values = values.float()
        if not values.isfinite().all() or values.min() < 0 or values.max() > 1:
            raise ImageError(f"{name}: floating-point pixel values must be in [0, 1]; use uint8 for 0 to 255")
    else:
        raise ImageError(f"{name}: pixels must be uint8, uint16 or float, not {values.dtype}")
    if values.shape[0] == channels:
        return values
    if values.shape[0] == 1 and channels == 3:
        return values.expand(3, -1, -1)
    if values.shape[0] == 3 and channels == 1:
        return (values * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    raise ImageError(f"{name} has {values.shape[0]} channels, the model expects {channels}")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
