"""Depth and classes of pixels as colours."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from saccade.deferred import Deferred
from saccade.reporting.draw import class_colour

matplotlib = Deferred("matplotlib")
DEPTH_COLORMAP = "viridis"  # perceptually uniform: equal steps of depth look equal


def depth_colours(depth: np.ndarray, low: float, high: float) -> np.ndarray:
    """Depth ``[H, W]`` as colours ``[H, W, 3]`` uint8 between two distances; grey where it is NaN."""
    level = (depth - low) / max(high - low, 1e-9)
    colours = matplotlib.colormaps[DEPTH_COLORMAP](np.nan_to_num(level).clip(0, 1))[..., :3]
    colours[np.isnan(depth)] = 0.5
    return (colours * 255).round().astype(np.uint8)


def with_scale_bar(colours: np.ndarray, low: float, high: float, unit: str = "m") -> np.ndarray:
    """A depth picture ``[H, W, 3]`` with the range of its colours below it."""
    height = max(28, colours.shape[0] // 16)
    bar = depth_colours(np.linspace(low, high, colours.shape[1])[None].repeat(height // 2, axis=0), low, high)
    margin = np.full((height - len(bar), colours.shape[1], 3), 255, np.uint8)
    canvas = Image.fromarray(np.concatenate((colours, bar, margin)))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(max(10, height // 2 - 2))
    top = colours.shape[0] + len(bar)
    pen.text((2, top), f"{low:.2f} {unit}", fill=(20, 20, 20), font=font)
    pen.text((colours.shape[1] - 2, top), f"{high:.2f} {unit}", fill=(20, 20, 20), font=font, anchor="ra")
    return np.asarray(canvas)


def class_colours(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Class indices ``[H, W]`` as colours ``[H, W, 3]`` uint8; black where there is no class."""
    palette = np.array([*(class_colour(i, num_classes) for i in range(num_classes)), (0, 0, 0)], np.uint8)
    return palette[np.where(classes < 0, num_classes, classes)]


def with_legend(colours: np.ndarray, classes: Sequence[int], labels: Sequence[str]) -> np.ndarray:
    """A picture of classes ``[H, W, 3]`` with the colours and names of the classes in it below."""
    width = max(colours.shape[1], 160)
    size = max(11, width // 40)
    font, left = ImageFont.load_default(size), 4.0
    rows: list[list[tuple[int, float]]] = [[]]
    for index in classes:
        length = font.getlength(labels[index]) + 2 * size
        if rows[-1] and left + length > width:
            rows.append([])
            left = 4.0
        rows[-1].append((index, left))
        left += length
    line = round(1.6 * size)
    canvas = Image.new("RGB", (width, colours.shape[0] + line * len(rows)), "white")
    canvas.paste(Image.fromarray(colours), (0, 0))
    pen = ImageDraw.Draw(canvas)
    for row, entries in enumerate(rows):
        top = colours.shape[0] + row * line + line // 5
        for index, left in entries:
            pen.rectangle((left, top, left + size, top + size), fill=class_colour(index, len(labels)))
            pen.text((left + 1.3 * size, top - 1), labels[index], fill=(20, 20, 20), font=font)
    return np.asarray(canvas)


def blend(image: np.ndarray, colours: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Colours over an image of the same size, both ``[H, W, 3]`` uint8."""
    return (image * (1 - opacity) + colours * opacity).round().astype(np.uint8)
