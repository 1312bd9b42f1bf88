"""Files of class masks and depth maps."""

from pathlib import Path
from typing import IO

import numpy as np

from saccade.data.image_formats import DAMAGE, MAX_PIXELS, first_line, open_image, open_image_file
from saccade.data.npy import read_npy
from saccade.errors import ImageError
from saccade.tasks.dense.class_tables import ClassTable, Colour

LOSSLESS = ("PNG", "BMP", "TIFF", "GIF")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
HEADER_LINE = 256  # bytes of a line in the header of a PFM
DEPTH_SUFFIXES = (".png", ".pfm", ".npy")
WITHOUT_TABLE = (
    "no file maps colours to classes: put class_dict.csv with the columns name,r,g,b (or labelmap.txt of CVAT, "
    "label_colors.txt of CamVid) into the folder of the data, or set data.class_table to such a file"
)


class MaskReader:
    """Reads the masks of one data set as class indices.

    A mask holds numbers, or colours if the table has colours: those of its pixels, or of its palette. A mask with the
    same value in its three channels holds numbers too.

    Args:
        table: the classes.
        palette: colours of the palette of another mask, by index. Numbers are compared through it: tools that reduce
            colours to a palette number them differently in each file.
        max_pixels: larger masks are refused; None for Pillow's limit.
    """

    def __init__(self, table: ClassTable, palette: np.ndarray | None = None, max_pixels: int | None = None):
        self.table, self.palette, self.max_pixels = table, palette, max_pixels
        self._indices = table.indices()
        codes = _codes(np.array(list(table.colours)).reshape(-1, 3))
        order = codes.argsort()
        self._codes, self._numbers = codes[order], np.array(list(table.colours.values()), dtype=np.int64)[order]

    def __call__(self, path: Path) -> np.ndarray:
        """The class indices of a mask, ``[H, W]`` int64.

        Raises:
            ImageError: not a mask, or a number or colour without a class; the message names the first such pixel.
        """
        pixels, palette = mask_pixels(path, self.max_pixels)
        if self.table.colours:
            return self._indices[self._numbers_of_colours(path, pixels, palette)]
        if pixels.ndim == 3:
            raise ImageError(f"{path} is a mask of colours, such as {first_colour(pixels)}, and {WITHOUT_TABLE}")
        self._compare_palettes(path, pixels, palette)
        known = pixels < len(self._indices)
        indices = self._indices[np.where(known, pixels, 0)]
        unknown = ~known | (indices == -2)
        if unknown.any():
            y, x = np.argwhere(unknown)[0]
            numbers = ", ".join(map(str, sorted(self.table.names)[:12])) + (", …" if len(self.table.names) > 12 else "")
            raise ImageError(
                f"{path} has the class number {pixels[y, x]} at x {x}, y {y}, but {self.table.file} names "
                f"{len(self.table.names)} classes: {numbers}"
            )
        return indices

    def _numbers_of_colours(self, path: Path, pixels: np.ndarray, palette: np.ndarray | None) -> np.ndarray:
        colours = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
        if palette is not None:
            if int(pixels.max()) >= len(palette):
                raise ImageError(f"{path} has the palette index {pixels.max()}, but {len(palette)} colours")
            colours = palette[pixels]
        codes = _codes(colours)
        places = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        unknown = self._codes[places] != codes
        if unknown.any():
            y, x = np.argwhere(unknown)[0]
            more = len(np.unique(codes[unknown])) - 1
            raise ImageError(
                f"{path} has the colour {tuple(colours[y, x].tolist())} at x {x}, y {y}, which is not in "
                f"{self.table.file}" + (f", and {more} other colours that are not" if more else "")
            )
        return self._numbers[places]

    def _compare_palettes(self, path: Path, pixels: np.ndarray, palette: np.ndarray | None) -> None:
        if palette is None or self.palette is None:
            return
        used = np.unique(pixels)
        used = used[used < min(len(palette), len(self.palette))]
        differing = used[(palette[used] != self.palette[used]).any(axis=1)]
        if len(differing):
            index = int(differing[0])
            raise ImageError(
                f"{path}: index {index} is the colour {tuple(palette[index].tolist())} in its palette, and "
                f"{tuple(self.palette[index].tolist())} in that of other masks, so that indices are not the numbers of "
                f"classes, and {WITHOUT_TABLE}"
            )


def mask_pixels(path: Path, max_pixels: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """The pixels of a mask: numbers ``[H, W]`` or colours ``[H, W, 3]``, and the colours of its palette ``[n, 3]`` if
    it has one, in which case the pixels are indices.

    Raises:
        ImageError: not a readable file of a lossless format, or partly transparent.
    """
    try:
        with open_image_file(path) as file:
            image = open_image(file, str(path), LOSSLESS, max_pixels or MAX_PIXELS)
            palette = None
            if image.mode == "P":
                image.load()  # of a GIF, the palette comes with the pixels
                palette = np.array(image.getpalette() or (), dtype=np.uint8).reshape(-1, 3)
            elif image.mode == "1":
                palette = np.array([[0] * 3, [255] * 3], dtype=np.uint8)
            elif image.mode == "LA":
                image = image.convert("RGBA")
            pixels = np.asarray(image)
    except ImageError:
        raise
    except DAMAGE as error:
        raise ImageError(f"{path} is not a readable mask: {first_line(error)}") from None
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        if (pixels[..., 3] != 255).any():
            raise ImageError(f"{path} is partly transparent: store the mask without an alpha channel")
        pixels = pixels[..., :3]
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if image.mode == "1":
        pixels = pixels.astype(np.uint8)
    if pixels.dtype.kind not in "ui" or (pixels.size and int(pixels.min()) < 0):
        raise ImageError(f"{path} is in mode {image.mode}: a mask holds numbers of classes from 0, or colours")
    return pixels, palette


def first_colour(pixels: np.ndarray) -> Colour:
    """The first colour of ``[H, W, 3]`` that is not a grey."""
    y, x = np.argwhere((pixels != pixels[..., :1]).any(axis=-1))[0]
    red, green, blue = pixels[y, x].tolist()
    return red, green, blue


def _codes(colours: np.ndarray) -> np.ndarray:
    """One number for each colour ``[..., 3]``."""
    red, green, blue = np.moveaxis(colours.astype(np.int64), -1, 0)
    return (red << 16) | (green << 8) | blue


SATURATED = 2**16 - 1  # stored by some sensors for pixels without a measurement; in millimetres it would be 65 m


def read_depth(path: Path, scale: float, max_pixels: int | None = None) -> np.ndarray:
    """Depth in metres ``[H, W]`` float32, NaN where it is unknown; `scale` is the metres of one step of a PNG.

    Raises:
        ImageError: not a depth map, or a map without a single value.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            with open_image_file(path) as file:
                depth = read_npy(file, str(path), max_pixels or MAX_PIXELS).astype(np.float32)
        elif suffix == ".pfm":
            with open_image_file(path) as file:
                depth = _read_pfm(file, max_pixels or MAX_PIXELS)
        else:
            with open_image_file(path) as file:
                pixels = np.asarray(open_image(file, str(path), ("PNG",), max_pixels or MAX_PIXELS))
            depth = np.where(pixels == SATURATED, 0, pixels).astype(np.float32) * np.float32(scale)
    except ImageError:
        raise
    except DAMAGE as error:
        raise ImageError(f"{path} is not a readable depth map: {first_line(error)}") from None
    if depth.ndim != 2:
        raise ImageError(f"{path} has the shape {list(depth.shape)}: a depth map has one number for each pixel")
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)
    if np.isnan(depth).all():
        raise ImageError(f"{path} has no depth at all: every pixel is 0 or not a number")
    return depth


def _read_pfm(file: IO[bytes], max_pixels: int) -> np.ndarray:
    if file.readline(HEADER_LINE).strip() != b"Pf":
        raise ValueError("a PFM of one channel begins with Pf")
    width, height = (int(n) for n in file.readline(HEADER_LINE).split())
    scale = float(file.readline(HEADER_LINE))
    if not (width > 0 and height > 0 and width * height <= max_pixels):
        raise ValueError(f"{width} x {height} pixels; the maximum is {max_pixels:,}")
    content = file.read(4 * width * height)
    if len(content) < 4 * width * height:
        raise ValueError(f"{width} x {height} pixels take {4 * width * height:,} bytes, and it has {len(content):,}")
    pixels = np.frombuffer(content, "<f4" if scale < 0 else ">f4")
    return pixels.reshape(height, width)[::-1].astype(np.float32)  # its rows run upward
