"""What a report shows of depth and segmentation: figures, classes, and the worst images beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps

from saccade.reporting.draw import class_colour, enlarge
from saccade.reporting.report import picture, template
from saccade.tasks.predictions import DepthMetrics, SegmentationMetrics

DEPTH_COLOURS = "viridis"  # perceptually uniform: equal steps of depth look equal


@dataclass(frozen=True)
class DensePicture:
    """A held-out image ``[H, W, 3]`` uint8 with what was said, what is true, ``[H, W]`` each, and how wrong it is."""

    name: str
    image: np.ndarray
    said: np.ndarray
    true: np.ndarray
    figure: str


def depth_picture(depth: np.ndarray, low: float, high: float) -> np.ndarray:
    """Depth ``[H, W]`` as colours ``[H, W, 3]`` uint8 between two distances; grey where there is none."""
    level = (depth - low) / max(high - low, 1e-9)
    colours = colormaps[DEPTH_COLOURS](np.nan_to_num(level).clip(0, 1))[..., :3]
    colours[np.isnan(depth)] = 0.5
    return (colours * 255).round().astype(np.uint8)


def with_scale_bar(colours: np.ndarray, low: float, high: float, unit: str = "m") -> np.ndarray:
    """A depth picture with the meaning of its colours beneath it."""
    from PIL import Image, ImageDraw, ImageFont

    height = max(28, colours.shape[0] // 16)
    bar = depth_picture(np.linspace(low, high, colours.shape[1])[None].repeat(height // 2, axis=0), low, high)
    margin = np.full((height - len(bar), colours.shape[1], 3), 255, np.uint8)
    whole = Image.fromarray(np.concatenate((colours, bar, margin)))
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(max(10, height // 2 - 2))
    top = colours.shape[0] + len(bar)
    pen.text((2, top), f"{low:.2f} {unit}", fill=(20, 20, 20), font=font)
    pen.text((colours.shape[1] - 2, top), f"{high:.2f} {unit}", fill=(20, 20, 20), font=font, anchor="ra")
    return np.asarray(whole)


def class_picture(classes: np.ndarray, count: int) -> np.ndarray:
    """Class numbers ``[H, W]`` as colours ``[H, W, 3]`` uint8; black where there is none."""
    palette = np.array([*(class_colour(i, count) for i in range(count)), (0, 0, 0)], np.uint8)
    return palette[np.where(classes < 0, count, classes)]


def with_legend(colours: np.ndarray, classes: Sequence[int], labels: Sequence[str]) -> np.ndarray:
    """A picture of classes with the names of those that it shows beneath it, each behind its colour."""
    from PIL import Image, ImageDraw, ImageFont

    width = max(colours.shape[1], 160)
    size = max(11, width // 40)
    font, left = ImageFont.load_default(size), 4.0
    rows: list[list[tuple[int, float]]] = [[]]
    for number in classes:
        length = font.getlength(labels[number]) + 2 * size
        if rows[-1] and left + length > width:
            rows.append([])
            left = 4.0
        rows[-1].append((number, left))
        left += length
    line = round(1.6 * size)
    whole = Image.new("RGB", (width, colours.shape[0] + line * len(rows)), "white")
    whole.paste(Image.fromarray(colours), (0, 0))
    pen = ImageDraw.Draw(whole)
    for row, entries in enumerate(rows):
        top = colours.shape[0] + row * line + line // 5
        for number, left in entries:
            pen.rectangle((left, top, left + size, top + size), fill=class_colour(number, len(labels)))
            pen.text((left + 1.3 * size, top - 1), labels[number], fill=(20, 20, 20), font=font)
    return np.asarray(whole)


def over(image: np.ndarray, colours: np.ndarray, share: float = 0.6) -> np.ndarray:
    """Colours laid over a picture of the same size."""
    return (image * (1 - share) + colours * share).round().astype(np.uint8)


def depth_tiles(metrics: DepthMetrics) -> Mapping[str, str]:
    """The figures on top."""
    return {
        "δ < 1.25": f"{100 * metrics.delta1:.2f} %", "δ < 1.25²": f"{100 * metrics.delta2:.2f} %",
        "AbsRel": f"{metrics.abs_rel:.4f}", "RMSE": f"{metrics.rmse:.3f} m", "SILog": f"{metrics.silog:.2f}",
    }  # fmt: skip


def depth_section(worst: Sequence[DensePicture]) -> Markup:
    """Image, depth said, depth true, error; the worst first."""
    cards = []
    for p in worst:
        low, high = float(np.nanmin(p.true)), float(np.nanmax(p.true))
        error = np.abs(p.said - p.true) / p.true
        parts = [
            p.image,
            depth_picture(p.said, low, high),
            depth_picture(p.true, low, high),
            depth_picture(error, 0, 0.5),
        ]
        cards.append({"name": p.name, "figure": p.figure, "pictures": [picture(enlarge(part)) for part in parts]})
    note = "Image; depth as said; as it is, near dark and far bright; relative error, bright where it is half or more."
    return Markup(template("dense").render(cards=cards, note=note, classes=[], legend=[]))


def segmentation_tiles(metrics: SegmentationMetrics) -> Mapping[str, str]:
    """The figures on top."""
    return {"mIoU": f"{metrics.miou:.3f}", "pixels right": f"{100 * metrics.accuracy:.2f} %"}


def segmentation_section(metrics: SegmentationMetrics, labels: Sequence[str], worst: Sequence[DensePicture]) -> Markup:
    """Classes, then image, classes said, classes true; the worst first."""
    cards = []
    for p in worst:
        parts = [p.image, *(over(p.image, class_picture(m, len(labels))) for m in (p.said, p.true))]
        cards.append({"name": p.name, "figure": p.figure, "pictures": [picture(enlarge(part)) for part in parts]})
    legend = [
        {"name": n, "colour": "#{:02x}{:02x}{:02x}".format(*class_colour(i, len(labels)))} for i, n in enumerate(labels)
    ]
    classes = sorted((row for row in metrics.per_class if row.iou >= 0), key=lambda row: row.iou)
    note = "Image; classes as said; as they are. Black is no class."
    return Markup(template("dense").render(cards=cards, note=note, classes=classes, legend=legend))
