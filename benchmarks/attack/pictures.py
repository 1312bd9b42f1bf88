"""Image files: edited, too large for what they are, and names that are no file's."""

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from benchmarks.attack.edits import edited_bytes, flipped, with_checksums
from benchmarks.attack.runner import Row, problem_of
from saccade.data.images import image_size, read_image
from saccade.data.preprocessing import Preprocessing, Resize

RESIZES = get_args(Resize)


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (20, 14), **options: Any) -> bytes:
    """A picture of random pixels as a file."""
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), np.uint8)
    buffer = io.BytesIO()
    if mode == "I;16":
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(pixels).convert(mode)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def picture_files(folder: Path | None = None) -> dict[str, bytes]:
    """Valid files of every format that is read, by name."""
    more = [Image.new("RGB", (20, 14), colour) for colour in ("red", "green")]
    files = {
        f"{mode}.png".replace(";", "_"): encoded("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    array = io.BytesIO()
    np.save(array, np.zeros((14, 20, 3), np.uint8))
    files |= {
        "rgb.jpg": encoded("JPEG"), "grey.jpg": encoded("JPEG", "L"), "cmyk.jpg": encoded("JPEG", "CMYK"),
        "progressive.jpg": encoded("JPEG", progressive=True), "turned.jpg": encoded("JPEG", exif=exif),
        "interlaced.png": encoded("PNG", "RGB", dpi=(72, 72)), "text.png": encoded("PNG", exif=exif),
        "palette.gif": encoded("GIF", "P"), "frames.gif": encoded("GIF", "P", save_all=True, append_images=more),
        "animation.png": encoded("PNG", save_all=True, append_images=more),
        "rgb.tif": encoded("TIFF"), "lzw.tif": encoded("TIFF", compression="tiff_lzw"),
        "deflate.tif": encoded("TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encoded("TIFF", compression="jpeg"), "packbits.tif": encoded("TIFF", compression="packbits"),
        "grey16.tif": encoded("TIFF", "I;16"), "float.tif": encoded("TIFF", "F"),
        "pages.tif": encoded("TIFF", save_all=True, append_images=more),
        "rgb.webp": encoded("WEBP"), "lossless.webp": encoded("WEBP", "RGBA", lossless=True),
        "frames.webp": encoded("WEBP", save_all=True, append_images=more), "rgb.avif": encoded("AVIF"),
        "rgb.bmp": encoded("BMP"), "palette.bmp": encoded("BMP", "P"), "rgb.ppm": encoded("PPM"),
        "grey.pgm": encoded("PPM", "L"), "array.npy": array.getvalue(),
    }  # fmt: skip
    return files


def prepared_files(folder: Path) -> list[tuple[str, bytes]]:
    return list(picture_files().items())


def read_as_a_model_does(file: Path, resize: str, channels: int) -> None:
    image = read_image(file, channels=channels)
    Preprocessing(size=(32, 32), resize=resize, channels=channels)(image)  # type: ignore[arg-type]


def edited_image(files: list[tuple[str, bytes]], number: int, rng: random.Random, folder: Path) -> str | None:
    name, content = files[number % len(files)]
    content = flipped(content, rng) if rng.random() < 0.4 else edited_bytes(content, rng)
    if name.endswith(".png") and rng.random() < 0.5:
        content = with_checksums(content)
    file = folder / name
    file.write_bytes(content)
    resize, channels = rng.choice(RESIZES), rng.choice((1, 3, 3, 3, 4, 5))
    return problem_of(lambda: read_as_a_model_does(file, resize, channels)) or problem_of(lambda: image_size(file))


# ------------------------------------------------------------------------------------------ more than the file is worth


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, depth: int = 8, colour: int = 0, pixels: bytes | None = None, extra: bytes = b""
) -> bytes:
    """A PNG with this header; the pixels are zeros of its size, unless given."""
    bits = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth
    body = zlib.compress(bytes(height * (1 + (width * bits + 7) // 8))) if pixels is None else pixels
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def pages_tiff(pages: int) -> bytes:
    """A TIFF of many pages that all show the same 2 x 2 pixels."""
    entries = ((256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 3, 1, 2), (279, 4, 1, 4))  # fmt: skip
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    size, start = len(table) + 4, 12
    offsets = [start + size * (page + 1) if page + 1 < pages else 0 for page in range(pages)]
    return b"II*\0" + struct.pack("<I", start) + b"\1\2\3\4" + b"".join(table + struct.pack("<I", o) for o in offsets)


def npy(shape: str, dtype: str = "|u1") -> bytes:
    """A .npy whose header states a shape, with a few bytes of values."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


def bmp(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    )


HUGE = ((20_000, 20_000), (65_535, 65_535), (2**31 - 1, 1), (1, 2**31 - 1), (100_000, 1000), (2**31 - 1, 2**31 - 1))
KINDS = ("png", "thin", "thin", "thin", "tiff", "npy", "bmp", "ppm", "gif", "text", "interlaced", "pages")
THIN = (("a.png", "PNG"), ("a.bmp", "BMP"), ("a.gif", "GIF"), ("a.tif", "TIFF"), ("a.ppm", "PPM"))


def disproportionate(rng: random.Random) -> tuple[str, bytes]:
    """A small file that states, or is, something large."""
    long, short = rng.randint(2000, 60_000), rng.randint(1, 3)
    sides, huge = rng.choice(((long, short), (short, long))), rng.choice(HUGE)
    thin = Image.new(rng.choice(("L", "RGB", "P")), sides)
    buffer = io.BytesIO()
    kind = rng.choice(KINDS)
    if kind == "png":
        return "a.png", png(*huge, colour=rng.choice((0, 2, 6)), pixels=zlib.compress(bytes(1000)))
    if kind == "thin":
        name, format = rng.choice(THIN)
        (thin.convert("RGB") if format == "PPM" else thin).save(buffer, format)
        return name, buffer.getvalue()
    if kind == "tiff":
        content = bytearray(pages_tiff(1))
        struct.pack_into("<HHII", content, 14, 256, 4, 1, huge[0])
        struct.pack_into("<HHII", content, 26, 257, 4, 1, huge[1])
        return "a.tif", bytes(content)
    if kind == "npy":
        return "a.npy", npy(f"({huge[0]}, {huge[1]}, 3)", rng.choice(("|u1", "<f4", "<f8", "|O", "<U1000000")))
    if kind == "bmp":
        return "a.bmp", bmp(huge[0], rng.choice((huge[1], -min(huge[1], 2**31 - 1))))
    if kind == "ppm":
        return "a.ppm", b"P6 %d %d 255\n" % huge + bytes(100)
    if kind == "gif":
        screen = struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0)
        return "a.gif", b"GIF89a" + screen + b"," + struct.pack(
            "<HHHHB", 0, 0, 65_535, 65_535, 0
        ) + b"\x08\x01\x00\x00;"
    if kind == "text":
        return "a.png", png(4, 4, extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(rng.randint(1, 60) * 10**6), 9)))
    if kind == "interlaced":
        return "a.png", png(*sides, depth=rng.choice((1, 8, 16)))
    return "a.tif", pages_tiff(rng.choice((1000, 20_000, 100_000)))


def large_image(state: None, number: int, rng: random.Random, folder: Path) -> str | None:
    name, content = disproportionate(rng)
    file, resize = folder / name, RESIZES[number % len(RESIZES)]
    file.write_bytes(content)
    size = rng.choice(((32, 32), (224, 224), (800, 1333)))
    return problem_of(lambda: Preprocessing(size=size, resize=resize)(read_image(file))) or problem_of(
        lambda: image_size(file)
    )


ROWS = (
    Row("images", "edited images of 34 kinds of file, read and prepared as for a model", "an image or one line of "
        "error", 21_206, edited_image, prepared_files, batch=1000, quiet=True),
    Row("sizes", "small images that are thin, have many pages, or state a large size", "the same, within 20 s of CPU "
        "time and 1.5 GB", 1200, large_image, quiet=True),
)  # fmt: skip
