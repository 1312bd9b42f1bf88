"""The supported image formats, and identification of other files by their first bytes.

This is the only place that opens an untrusted file with an image library, with an explicit list of formats, so that no
other decoder runs on unknown bytes (EPS starts an interpreter).
"""

import importlib
import io
import logging
import struct
import threading
import tokenize
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import ExifTags, Image, TiffImagePlugin

from saccade.data.npy import SIGNATURE
from saccade.data.npy import SUFFIX as ARRAY_SUFFIX
from saccade.data.tar_members import open_member
from saccade.errors import ImageError
from saccade.files import MAX_IMAGE_BYTES, open_regular

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM")  # a JPEG of several pictures opens as "MPO"
HEIF_SUFFIXES = (".heic", ".heif", ".hif")  # with the extra `heic`
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm", *HEIF_SUFFIXES, ARRAY_SUFFIX,
)  # fmt: skip
MAX_PIXELS = 89_478_485  # Pillow's own limit, 268 MB as RGB; checked on the header, before any pixel is decoded
LARGEST_PICTURE = 4  # channels of what Pillow opens: red, green, blue, and opacity or nothing
HEAD_BYTES = 512  # of a file, by which its kind is recognised

# Raised by decoders on damaged bytes.
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    MemoryError, RuntimeError, struct.error, zlib.error, tokenize.TokenError, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
READABLE_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF8", "GIF"), (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
)  # fmt: skip
OTHER_SIGNATURES = (
    (b"%PDF", "a PDF document"), (b"%!PS", "PostScript"), (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL ", "JPEG XL"), (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"), (b"PK\x03\x04", "a zip archive"), (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"), (b"7z\xbc\xaf", "a 7z archive"), (b"\0\0\1\0", "an icon"),
    (b"\x89HDF", "an HDF5 file"), (b"SIMPLE  =", "a FITS file"), (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"DDS ", "a DirectDraw surface"), (b"qoif", "QOI"), (b"version https://git-lfs", "a Git LFS pointer"),
)  # fmt: skip
ADVICE = {
    "empty": "copy or download it again",
    "HTML": "a web page was stored in place of the image: download it again",
    "a Git LFS pointer": "run `git lfs pull` in its repository",
    "a zip archive": "unpack it, or pass a .zip of class folders as the data set",
}


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of an image format, readable with or without an extra."""
    return name.lower().endswith(SUFFIXES)


def image_names(names: Iterable[str]) -> list[str]:
    """The names of image files. A ``.npy`` next to an image of the same name (its features, its mask) is not one."""
    images = [name for name in names if is_image_name(name)]
    pictures = {name.rpartition(".")[0] for name in images if not name.lower().endswith(ARRAY_SUFFIX)}
    return [n for n in images if not n.lower().endswith(ARRAY_SUFFIX) or n.rpartition(".")[0] not in pictures]


def kind_of(head: bytes) -> str:
    """The type of a file by its first :data:`HEAD_BYTES`: ``"JPEG"``, ``"HEIC"``, ``"HTML"``, ``"empty"``, …"""
    if not head:
        return "empty"
    for signature, kind in (*READABLE_SIGNATURES, *OTHER_SIGNATURES):
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else "audio or video (RIFF)"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis") or (brand in (b"mif1", b"msf1") and b"avif" in head[16:64]):
            return "AVIF"
        return "HEIC" if brand in HEIF_BRANDS else "a video (MP4, QuickTime)"
    if head.startswith(SIGNATURE):
        return "a NumPy array"
    if head[128:132] == b"DICM":
        return "a DICOM file"
    if head[:2] == b"BM":
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    return _kind_of_text(head)


def _kind_of_text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML"
    if b"<svg" in start:
        return "SVG"
    if start.startswith(b"<?xml"):
        return "XML"
    if start.startswith((b"{", b"[")):
        return "JSON or other text"
    if not head.strip(b"\0"):
        return "nothing but zeros"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or len(head) < HEAD_BYTES:  # not a letter that the end of the head cuts
            return "unknown"
        text = head[: error.start].decode("utf-8")
    return "text" if all(c.isprintable() or c.isspace() for c in text) else "unknown"


NO_PICTURE = ("text", "unknown", "XML", "JSON or other text", "nothing but zeros")  # there is nothing to convert


def not_an_image(name: str, kind: str, reason: str = "") -> ImageError:
    """The error for a file that no decoder reads: its type, and what to do."""
    content = {
        "empty": "the file is empty",
        "unknown": "its bytes belong to no known format",
        "nothing but zeros": "it has nothing but zeros",
    }.get(kind, f"its content is {kind}")
    reason = f" ({reason})" if reason else ""
    advice = ADVICE.get(kind, "replace or remove it" if kind in NO_PICTURE else "convert it to JPEG or PNG")
    return ImageError(f"{name} is not an image that can be read: {content}{reason}; {advice}")


def open_image_file(path: Path, name: str = "") -> IO[bytes]:
    """Open the regular file of an image; raises ImageError as :func:`saccade.files.open_regular`."""
    member = open_member(path)
    if member is not None:
        return member
    return open_regular(path, name, ImageError, kind="image file", max_bytes=MAX_IMAGE_BYTES)


def open_image(
    file: IO[bytes], name: str, formats: Sequence[str] = FORMATS, max_pixels: int | None = MAX_PIXELS
) -> Image.Image:
    """An image file, identified by its header, its pixels not yet decoded.

    Args:
        file: binary file; it must stay open until the pixels are loaded.
        name: name of the image in errors.
        formats: formats that may be decoded, of :data:`FORMATS`; HEIC is read only with the whole list.
        max_pixels: largest number of pixels; None if the caller does not decode or has its own limit.

    Raises:
        ImageError: not an image, a damaged header, or above `max_pixels`.
    """
    image = _identify(file, name, formats)
    if max_pixels is not None:
        refuse_larger(image.size, max_pixels, name)
    return image


def refuse_larger(size: tuple[int, int], max_pixels: int, name: str) -> None:
    """Raise ImageError if an image of (width, height) has more than `max_pixels`."""
    if size[0] * size[1] > max_pixels:
        raise ImageError(
            f"{name} has {size[0]} x {size[1]} pixels; the maximum is {max_pixels / 10**6:.0f} megapixels: make it "
            "smaller, or raise the limit (max_pixels, --max-pixels, --set data.max_pixels=N)"
        )


def _identify(file: IO[bytes], name: str, formats: Sequence[str]) -> Image.Image:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    kind = kind_of(head)
    if kind == "HEIC" and formats is FORMATS:
        return _open_heic(file, name)
    Image.init()
    try:
        for candidate in formats:
            if candidate not in Image.OPEN:  # Pillow was built without the codec
                continue
            factory, accept = Image.OPEN[candidate]
            if accept is None or accept(head[:16]) is True:
                file.seek(0)
                with quiet_decoders():
                    return factory(
                        file, name
                    )  # unlike Image.open without Pillow's global limit of pixels: ours is exact
    except SyntaxError as error:  # Pillow's word for "not this format"
        raise not_an_image(name, kind, first_line(error)) from None
    except DAMAGE as error:
        raise ImageError(f"{name} is damaged: {first_line(error)}") from None
    if kind == "AVIF" and "AVIF" in formats and "AVIF" not in Image.OPEN:
        raise not_an_image(name, kind, "this Pillow was built without it: pip install --upgrade pillow")
    raise not_an_image(name, kind)


def _open_heic(file: IO[bytes], name: str) -> Image.Image:
    try:
        pillow_heif: Any = importlib.import_module("pillow_heif")
    except ImportError:
        raise not_an_image(
            name, "HEIC", "HEIC needs the extra `heic`: pip install 'saccade[heic]', or pip install pillow-heif"
        ) from None
    try:
        return pillow_heif.HeifImageFile(file, name)
    except DAMAGE as error:
        raise not_an_image(name, "HEIC", f"which cannot be decoded: {first_line(error)}") from None


def has_more_frames(image: Image.Image) -> bool:
    """Whether there is a second frame. Frames are not counted: a file of a megabyte can have 100,000, and finding the
    last takes time quadratic in their number."""
    try:
        with quiet_decoders():
            image.seek(1)
    except DAMAGE:
        return False
    return True


def damage_behind(image: Image.Image) -> str:
    """The damage of the next frame of a GIF or TIFF whose first frame is intact; "" if there is none.

    Other formats have no directory of frames.
    """
    if image.format not in ("GIF", "TIFF"):
        return ""
    try:
        with quiet_decoders():
            image.seek(1)
    except EOFError:  # there is no other
        return ""
    except DAMAGE as error:
        return first_line(error)
    return ""


def tiff_bands(file: IO[bytes]) -> int:
    """The number of bands of a TIFF: samples of a pixel, or planes if tifffile wrote an array as pages; 0 if the header
    is damaged. The file is rewound."""
    bands = _samples_per_pixel(file)
    if bands == 1 and (tifffile := tifffile_library()) is not None:
        try:
            with tifffile.TiffFile(file) as tiff:
                if not tiff.is_shaped:  # by its first page alone
                    return bands
                series = tiff.series[0]
                if series.kind == "shaped" and len(series.shape) == 3:
                    bands = min(series.shape[0], series.shape[2])
        except (*DAMAGE, tifffile.TiffFileError):
            return 0
        finally:
            file.seek(0)
    return bands


def tifffile_library() -> Any:
    """The library of the extra `tiff`; None if it is not installed."""
    try:
        library = importlib.import_module("tifffile")
    except ImportError:
        return None
    if library.logger().level == logging.NOTSET:  # what it prints of a damaged file is in the error, with its name
        library.logger().setLevel(logging.CRITICAL)
    return library


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Suppress Pillow's warnings and log messages about damaged files: they have no file name, and unreadable files
    raise an error."""
    logging.getLogger("PIL.TiffImagePlugin").addFilter(_outside_decoders)  # once, however often it is added
    before, DECODING.active = DECODING.active, True
    try:
        with warnings.catch_warnings():
            # Of Pillow alone: filters belong to the whole process, and other threads may come in between.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        DECODING.active = before


class _Decoding(threading.local):
    """Whether this thread is inside :func:`quiet_decoders`."""

    active = False


DECODING = _Decoding()


def _outside_decoders(record: logging.LogRecord) -> bool:
    return not DECODING.active


def _samples_per_pixel(file: IO[bytes]) -> int:
    with quiet_decoders():
        return int(_tiff_tags(file).get(TiffImagePlugin.SAMPLESPERPIXEL, 1))


def _tiff_tags(file: IO[bytes]) -> Mapping[int, Any]:
    """The tags of a TIFF's first page; {SAMPLESPERPIXEL: 0} if the header is damaged. The file is rewound."""
    try:
        head = file.read(8)
        if head[2] == 43:  # BigTIFF
            head += file.read(8)
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(directory.next)
        with quiet_decoders():
            directory.load(file)
        return directory
    except DAMAGE:
        return {TiffImagePlugin.SAMPLESPERPIXEL: 0}
    finally:
        file.seek(0)


QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of an image file as :func:`saccade.data.images.read_image` reads it, upright, from its
    header alone.

    Raises:
        ImageError: not an image.
    """
    orientation, (width, height) = stored_orientation(path)
    return (height, width) if orientation in QUARTER_TURNS else (width, height)


def stored_orientation(path: Path) -> tuple[int, tuple[int, int]]:
    """The EXIF orientation of an image file, 1 to 8 (1: upright), and the (width, height) of its stored pixels.

    Raises:
        ImageError: not an image.
    """
    with open_image_file(path) as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if kind_of(head) == "TIFF" and tiff_bands(file) > LARGEST_PICTURE:
            tags = _tiff_tags(file)
            return 1, (int(tags[TiffImagePlugin.IMAGEWIDTH]), int(tags[TiffImagePlugin.IMAGELENGTH]))
        image = open_image(file, str(path), max_pixels=None)
        if image.format == "PNG" and image.width * image.height > MAX_PIXELS and "exif" not in image.info:
            return 1, image.size  # Pillow would decode the pixels to look for EXIF behind them
        try:
            with quiet_decoders():
                return image.getexif().get(ExifTags.Base.Orientation, 1), image.size
        except DAMAGE as error:
            raise ImageError(f"{path} is damaged: {first_line(error)}") from None


def image_format(data: bytes, name: str) -> str:
    """The name of the format of an image file: one of :data:`FORMATS`, ``"MPO"`` or ``"HEIF"``.

    Raises:
        ImageError: not an image.
    """
    return open_image(io.BytesIO(data), name, max_pixels=None).format or ""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or the name of its type."""
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
