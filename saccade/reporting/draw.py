"""Drawing primitives: an image with maps, boxes or segments over it."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from saccade.deferred import Deferred

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from saccade.analysis.attention_maps import Explanation

matplotlib, figures = Deferred("matplotlib"), Deferred("matplotlib.figure")

STRENGTH = 0.6  # of the overlay at its brightest
SMALLEST = 256  # pixels; smaller pictures are enlarged, so that a patch can be seen
LONGEST = 4096  # pixels of the longer side of a picture that is enlarged


def overlay(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Overlay a map on a picture: dark where values are small, bright where they are large.

    Args:
        image: ``[H, W, 3]`` uint8.
        attention: ``[h, w]``, any non-negative numbers; scaled by its largest.

    Returns:
        ``[H', W', 3]`` uint8, enlarged to at least 256 pixels a side.
    """
    enlarged = enlarge(image)
    height, width = enlarged.shape[:2]
    peak = float(attention.max())
    level = (attention / peak if peak > 0 else attention).astype(np.float32)
    resample = Image.Resampling.NEAREST if min(image.shape[:2]) <= 32 else Image.Resampling.BICUBIC
    level = np.asarray(Image.fromarray(level).resize((width, height), resample)).clip(0, 1)
    colour = matplotlib.colormaps["inferno"](level)[..., :3] * 255
    alpha = (STRENGTH * (0.35 + 0.65 * level))[..., None]
    return (enlarged * (1 - alpha) + colour * alpha).round().astype(np.uint8)


def draw_boxes(
    image: np.ndarray,
    boxes: Sequence[Sequence[float]],
    texts: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    masks: Sequence[np.ndarray | None] = (),
    *,
    smallest: int = 384,
) -> np.ndarray:
    """Draw boxes with a text each over a picture, the last on top.

    Args:
        image: ``[H, W, 3]`` uint8; enlarged to at least `smallest` pixels a side.
        boxes: left, top, right, bottom in pixels of the image.
        texts, colours: of each box.
        masks: mask of each box, ``[H, W]`` boolean or None, filled with its colour; may be empty.
    """
    factor = _factor(image, smallest)
    for mask, colour in zip(masks, colours):
        if mask is not None:
            image = np.where(mask[..., None], image * 0.5 + np.array(colour) * 0.5, image).astype(np.uint8)
    picture = Image.fromarray(image.repeat(factor, axis=0).repeat(factor, axis=1))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(12, min(picture.size) // 32))
    line = max(2, min(picture.size) // 200)
    for box, text, colour in zip(boxes, texts, colours):
        corners = [value * factor for value in box]
        pen.rectangle(corners, outline=colour, width=line)
        left, top, right, bottom = pen.textbbox((corners[0], corners[1]), text, font=font)
        up = min(bottom - top + 4, corners[1])  # above the box where there is room
        pen.rectangle((left - 2, top - up - 1, right + 2, bottom - up + 1), fill=colour)
        pen.text((corners[0], corners[1] - up), text, fill=(20, 20, 20), font=font)
    return np.asarray(picture)


def draw_segments(image: np.ndarray, ids: np.ndarray, names: Mapping[int, str], smallest: int = 384) -> np.ndarray:
    """Draw segments over a picture ``[H, W, 3]`` uint8, each in its own colour with its name at its centre.

    Args:
        image: enlarged to at least `smallest` pixels a side.
        ids: the segment of every pixel ``[H, W]``, 0 for none.
        names: of the segments.
    """
    factor = _factor(image, smallest)
    painted = image.astype(np.float32)
    for number in names:
        colour = np.array(class_colour(number - 1, max(len(names), 1)), np.float32)
        painted[ids == number] = 0.45 * painted[ids == number] + 0.55 * colour
    picture = Image.fromarray(painted.astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(max(12, min(picture.size) // 32))
    for number, name in names.items():
        rows, columns = np.nonzero(ids == number)
        middle = np.argmin(np.abs(rows - rows.mean()) + np.abs(columns - columns.mean()))  # a pixel of its own
        place = (float(columns[middle]) * factor, float(rows[middle]) * factor)
        pen.text(place, name, fill=(255, 255, 255), font=font, anchor="mm", stroke_width=2, stroke_fill=(20, 20, 20))
    return np.asarray(picture)


def class_colour(index: int, count: int) -> tuple[int, int, int]:
    """Bright colours, well separated for few classes."""
    red, green, blue, _ = matplotlib.colormaps["hsv"]((index * 0.618 % 1) if count > 12 else index / count)
    lift = 0.25
    return tuple(int(255 * (lift + (1 - lift) * value)) for value in (red, green, blue))  # type: ignore[return-value]


def enlarge(image: np.ndarray) -> np.ndarray:
    """Repeat pixels until the shorter side has at least 256, unless the longer one would have more than 4096."""
    factor = _factor(image, SMALLEST)
    return image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image


def _factor(image: np.ndarray, smallest: int) -> int:
    """Factor by which pixels are repeated so that the shorter side has at least `smallest`; smaller for a thin
    picture."""
    short, long = sorted(image.shape[:2])
    return max(1, min(-(-smallest // short), LONGEST // long))


def caption(image: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Add lines of text in a band below a picture ``[H, W, 3]`` uint8, enlarged to at least 256 pixels a side."""
    picture = Image.fromarray(enlarge(image))
    size = max(12, min(picture.size) // 20)
    font = ImageFont.load_default(size)
    step = round(1.5 * size)
    canvas = Image.new("RGB", (picture.width, picture.height + step * len(lines) + size), (255, 255, 255))
    canvas.paste(picture, (0, 0))
    pen = ImageDraw.Draw(canvas)
    most = max(8, round(picture.width / (0.55 * size)))
    for number, line in enumerate(lines):
        place = (size // 2, picture.height + size // 2 + step * number)
        pen.text(place, shortened(line, most), fill=(20, 20, 20), font=font)
    return np.asarray(canvas)


def to_png(pixels: np.ndarray) -> bytes:
    """``[H, W, 3]`` or ``[H, W]`` uint8 -> the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def explain_figure(explanations: Sequence["Explanation"], notes: Sequence[Sequence[str]] = ()) -> "Figure":
    """One row per picture: the model's input, the rollout of all layers, each head of the last layer.

    Args:
        explanations: explanation of each picture.
        notes: lines below the title of each picture's rollout.
    """
    if not explanations:
        raise ValueError("there is nothing to draw")
    columns = 2 + max(len(e.heads) for e in explanations)
    height = 2.9 if notes else 2.5
    figure = figures.Figure(figsize=(2.1 * columns, height * len(explanations)), layout="constrained", dpi=110)
    axes = figure.subplots(len(explanations), columns, squeeze=False)
    for row, explanation, lines in zip(axes, explanations, notes or [()] * len(explanations)):
        pictures = [enlarge(explanation.image), overlay(explanation.image, explanation.rollout)]
        said = explanation.label if explanation.score is None else f"{explanation.label}  {explanation.score:.0%}"
        titles = [said, "all layers (rollout)"]
        for index, head in enumerate(explanation.heads):
            pictures.append(overlay(explanation.image, head))
            titles.append(f"last layer, head {index}")
        for place in row:
            place.axis("off")
        for place, picture, title in zip(row, pictures, titles):
            place.imshow(picture)
            place.set_title(shortened(title, 26), fontsize=9)
        if lines:
            row[1].set_title("\n".join([titles[1], *lines]), fontsize=7.5)
    return figure


def contact_sheet(images: Sequence[Image.Image], titles: Sequence[str], path: str | Path) -> None:
    """Write pictures side by side, five per row, each below its title."""
    columns = min(5, max(1, len(images)))
    rows = -(-len(images) // columns)
    figure = figures.Figure(figsize=(2.4 * columns, 2.6 * max(rows, 1)), layout="constrained", dpi=110)
    for place in (axes := figure.subplots(max(rows, 1), columns, squeeze=False)).flat:
        place.axis("off")
    for place, image, title in zip(axes.flat, images, titles):
        place.imshow(image.convert("RGB"))
        place.set_title(shortened(title, 30), fontsize=8)
    figure.savefig(path)


def shortened(text: str, length: int) -> str:
    """The text with its middle left out if it is too long, and without the characters that start a formula."""
    text = text.replace("$", r"\$")
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}…{text[-(length // 2 - 1) :]}"
