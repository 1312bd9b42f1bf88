"""Reading of untrusted image files: an upright image with 8 bits per channel, or one clear error.

EXIF orientation is applied once; 16-bit values are divided by 257; transparent images are composited over white;
palettes and CMYK are converted to RGB; only the first frame of an animation or a multi-page document is read. Colour
profiles are not applied. Which formats are read is in `image_formats.py`.
"""

import io
import math
from pathlib import Path
from typing import IO, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saccade.data.image_formats import (
    DAMAGE,
    HEAD_BYTES,
    LARGEST_PICTURE,
    MAX_PIXELS,
    first_line,
    image_names,
    image_size,
    is_image_name,
    kind_of,
    open_image,
    open_image_file,
    quiet_decoders,
    refuse_larger,
    tiff_bands,
    tifffile_library,
)
from saccade.data.libtiff import libtiff_messages
from saccade.data.npy import SIGNATURE, npy_shape, read_npy
from saccade.data.pictures import BinaryFile, FileLike, picture_of
from saccade.errors import ImageError

__all__ = [
    "MAX_PIXELS",
    "ImageLike",
    "image_names",
    "image_size",
    "is_image_name",
    "read_image",
    "read_scaled",
    "stored_channels",
]

ImageLike = FileLike | np.ndarray | Tensor


@overload
def read_image(source: FileLike, *, name: str | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image: ...
@overload
def read_image(
    source: ImageLike, *, channels: int = 3, name: str | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image | Tensor: ...
def read_image(
    source: ImageLike, *, channels: int = 3, name: str | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image | Tensor:
    """Read one image.

    Args:
        source: a path, the bytes of an image file, an open file, a PIL image, an array ``[H, W]`` or ``[H, W, C]``
            (uint8, uint16, or float in [0, 1]), or a tensor ``[C, H, W]`` (uint8, or float in [0, 1]). ``.npy`` files
            contain such an array.
        channels: channels of the model: 1 gives mode "L", 3 gives "RGB"; other numbers accept arrays, tensors, ``.npy``
            and TIFF files with that many bands.
        name: the name of the image in errors; by default its path.
        max_pixels: largest number of pixels.

    Returns:
        an upright PIL image of mode "L" or "RGB" for files of a model with 1 or 3 channels, and for its arrays and
        tensors of 8 bits (uint8, or floats that are all multiples of 1/255), so that the same pixels are resized by
        the same code; otherwise ``[C, H, W]`` float32 in [0, 1].

    Raises:
        ImageError: not an image, damaged, above `max_pixels`, or of an unsupported format or bit depth.
    """
    return _read(source, channels, name, max_pixels, scaled=False)[0]


def read_scaled(
    source: ImageLike, *, channels: int = 3, name: str | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image | Tensor, tuple[int, int]]:
    """Like :func:`read_image`, but a JPEG of up to four times `max_pixels` is decoded at half its resolution.

    Returns:
        the image, and the (H, W) of the upright original in pixels.
    """
    return _read(source, channels, name, max_pixels, scaled=True)


def _read(
    source: ImageLike, channels: int, name: str | None, max_pixels: int, scaled: bool
) -> tuple[Image.Image | Tensor, tuple[int, int]]:
    if isinstance(source, np.ndarray | Tensor):
        numbers = _from_numbers(source, channels, name or "the image")
        return numbers, size_of(numbers)
    if isinstance(source, Image.Image):
        return _read_pil(source, channels, name or getattr(source, "filename", "") or "the image", max_pixels, scaled)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(source), channels, name or "the image", max_pixels, scaled)
    if isinstance(source, BinaryFile):
        name = name or str(getattr(source, "name", "") or "the image")
        content = source.read()
        if not isinstance(content, bytes):
            raise ImageError(f"{name}: a file opened as text; open it with mode 'rb'")
        return _decode(io.BytesIO(content), channels, name, max_pixels, scaled)
    if not isinstance(source, str | Path):
        raise ImageError(
            f"{name or 'the image'}: a {type(source).__name__} is no image; pass a path, bytes, a file, a PIL image, "
            "an array or a tensor"
        )
    with open_image_file(Path(source), name or str(source)) as file:
        return _decode(file, channels, name or str(source), max_pixels, scaled)


def _decode(
    file: IO[bytes], channels: int, name: str, max_pixels: int, scaled: bool
) -> tuple[Image.Image | Tensor, tuple[int, int]]:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head.startswith(SIGNATURE):
        values = read_npy(file, name, max_pixels * max(channels, 4))
        numbers = _from_numbers(values, channels, name)
        if isinstance(numbers, Tensor) and channels in (1, 3):  # as a TIFF of floats
            numbers = _from_numbers((numbers * 255).round().to(torch.uint8), channels, name)
        return numbers, size_of(numbers)
    if channels not in (1, 3) and kind_of(head) == "TIFF":
        numbers = _from_numbers(_read_bands(file, name, max_pixels, channels), channels, name)
        return numbers, size_of(numbers)
    if kind_of(head) == "TIFF" and (bands := tiff_bands(file)) > LARGEST_PICTURE:
        raise wrong_channels(name, bands, channels)
    return _read_pil(open_image(file, name, max_pixels=None), channels, name, max_pixels, scaled)


def stored_channels(data: bytes) -> int:
    """The number of channels of a model for an image file: 3 for a picture, the number of bands for a TIFF or ``.npy``
    that is not a picture."""
    file = io.BytesIO(data)
    kind, bands = kind_of(data[:HEAD_BYTES]), 3
    if kind == "TIFF":
        bands = tiff_bands(file)
    elif data.startswith(SIGNATURE):
        try:
            shape = npy_shape(file)[0]
        except DAMAGE:
            return 3
        bands = shape[2] if len(shape) == 3 else 1
        return 3 if bands in (1, 3) else bands
    return 3 if bands in (1, 3, LARGEST_PICTURE) else bands


def _read_bands(file: IO[bytes], name: str, max_pixels: int, channels: int) -> np.ndarray:
    """The bands of a TIFF ``[H, W, C]``."""
    tifffile = tifffile_library()
    if tifffile is None:
        raise ImageError(
            f"{name}: TIFF for a model with {channels} channels needs the extra `tiff`: pip install 'saccade[tiff]', "
            "or pip install tifffile"
        )
    try:
        with tifffile.TiffFile(file) as tiff:
            series = tiff.series[0]
            shape, axes = tuple(series.shape), series.axes
            if math.prod(int(n) for n in shape) > max_pixels * max(channels, 4):
                raise ImageError(f"{name} has the shape {list(shape)}: the maximum is {max_pixels:,} pixels")
            values = series.asarray()
    except (*DAMAGE, tifffile.TiffFileError) as error:
        raise ImageError(f"{name} is a TIFF that cannot be read: {first_line(error)}") from None
    if values.ndim == 3 and axes[-1] != "S" and shape[0] == channels:  # planes, or a page for each band
        values = np.moveaxis(values, 0, -1)
    return values


def _read_pil(
    image: Image.Image, channels: int, name: str, max_pixels: int, scaled: bool
) -> tuple[Image.Image | Tensor, tuple[int, int]]:
    if channels not in (1, 3):
        if len(image.getbands()) == channels and image.mode not in ("CMYK", "YCbCr", "LAB", "HSV"):
            refuse_larger(image.size, max_pixels, name)
            try:
                with quiet_decoders(), libtiff_messages():
                    pixels = np.asarray(image)
            except DAMAGE as error:
                raise ImageError(f"{name} is damaged or cut off: {first_line(error)}") from None
            numbers = _from_numbers(pixels, channels, name)
            return numbers, size_of(numbers)
        raise wrong_channels(name, len(image.getbands()), channels)
    return picture_of(image, channels, name, max_pixels, scaled)


def _from_numbers(source: np.ndarray | Tensor, channels: int, name: str) -> Image.Image | Tensor:
    if isinstance(source, np.ndarray):
        if source.ndim not in (2, 3):
            raise ImageError(f"{name}: an image array has the shape [H, W] or [H, W, C], not {list(source.shape)}")
        values = torch.from_numpy(np.require(source, requirements=["C", "W"]))  # those of a PIL image are read-only
        values = values[None] if values.ndim == 2 else values.permute(2, 0, 1)
    else:
        values = source[None] if source.ndim == 2 else source
        if values.ndim != 3:
            raise ImageError(f"{name}: an image tensor has the shape [C, H, W], not {list(source.shape)}")
    if not all(values.shape):
        raise ImageError(f"{name} is empty: {list(values.shape)}")
    if values.is_floating_point():
        values = values.detach().float().cpu()
        if not values.isfinite().all() or values.min() < 0 or values.max() > 1:
            raise ImageError(f"{name}: floating-point pixel values must be in [0, 1]; use uint8 for 0 to 255")
    elif values.dtype not in (torch.uint8, torch.uint16):
        raise ImageError(f"{name}: pixels must be uint8, uint16 or float, not {values.dtype}")
    if values.shape[0] in (1, 3) and channels in (1, 3):
        levels = _eight_bits(values)
        if levels is not None:
            picture = Image.fromarray(levels[0].numpy() if levels.shape[0] == 1 else levels.permute(1, 2, 0).numpy())
            return picture.convert("L" if channels == 1 else "RGB")
    if not values.is_floating_point():
        values = values.float() / (255 if values.dtype == torch.uint8 else 65535)
    if values.shape[0] == channels:
        return values
    if values.shape[0] == 1 and channels == 3:
        return values.expand(3, -1, -1)
    if values.shape[0] == 3 and channels == 1:
        return (values * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    raise wrong_channels(name, values.shape[0], channels)


def wrong_channels(name: str, count: int, channels: int) -> ImageError:
    """The error for an image with another number of channels than the model."""
    return ImageError(
        f"{name} has {count} channel{'s' * (count != 1)}, the model expects {channels}: train with --set "
        f"model.in_channels={count}, or open the model with in_channels={count}"
    )


def grey_image(pixels: np.ndarray, channels: int, name: str) -> Image.Image:
    """Generated grey pixels ``[H, W]`` uint8 as an image for a model with this number of channels.

    Raises:
        ImageError: the model does not read grey or RGB images.
    """
    if channels not in (1, 3):
        raise wrong_channels(name, 1, channels)
    return Image.fromarray(pixels)


def rgb_pixels(image: Image.Image | Tensor) -> np.ndarray:
    """An image as :func:`read_image` returns it, for display: ``[H, W, 3]`` uint8; for a tensor with another number of
    channels than three the first one is shown in grey."""
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    colour = image if image.shape[0] == 3 else image[:1].expand(3, -1, -1)
    return (colour.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def _eight_bits(values: Tensor) -> Tensor | None:
    """Pixels as uint8 if they have 8 bits: uint8, uint16 as in a PNG, or floats that are all n / 255; otherwise
    None."""
    if values.dtype == torch.uint8:
        return values.cpu()
    if values.dtype == torch.uint16:
        return (values.cpu().to(torch.float64) / 257).round().to(torch.uint8)
    levels = (values * 255).round()
    return levels.to(torch.uint8) if (values * 255 - levels).abs().max() < 1e-3 else None


def size_of(image: Image.Image | Tensor) -> tuple[int, int]:
    """(H, W) in pixels."""
    return (image.shape[-2], image.shape[-1]) if isinstance(image, Tensor) else (image.height, image.width)
