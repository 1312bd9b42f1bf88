"""Results of dense prediction."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from saccade.data.rle import encode_rle
from saccade.engine.notebook import NotebookPicture
from saccade.engine.pixel_map import ColourScale, LegendEntry, PixelMap
from saccade.reporting.draw import class_colour, to_png
from saccade.tasks.dense.drawing import blend, class_colours, depth_colours, with_legend, with_scale_bar

TOP = 5  # classes that are printed
SCALE_COLOURS = 17  # of a scale that a page draws


@dataclass(frozen=True, eq=False)
class Depth(NotebookPicture):
    """A depth map.

    Attributes:
        name: name of the image.
        depth: ``[H, W]`` float32 at the size of the image: metres; or an inverse depth up to scale and shift, largest
            where it is nearest.
        unit: "m", or "" for an inverse depth.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "nearest", "farthest", "mean", "unit")

    name: str
    depth: np.ndarray = field(repr=False)
    unit: str

    @property
    def ends(self) -> tuple[float, float]:
        """The values of the nearest and of the farthest pixel."""
        low, high = float(self.depth.min()), float(self.depth.max())
        return (low, high) if self.unit else (high, low)

    def __str__(self) -> str:
        nearest, farthest = self.ends
        unit = f" {self.unit}" if self.unit else ""
        kind = "" if self.unit else " (inverse depth)"
        mean = float(self.depth.mean())
        return f"{self.name}: nearest {nearest:.3g}{unit}, farthest {farthest:.3g}{unit}, mean {mean:.3g}{unit}{kind}"

    def to_dict(self) -> dict[str, Any]:
        """The range and the mean of the map; the map itself is in :meth:`files`."""
        suffix = "" if self.unit else " (inverse)"
        nearest, farthest = self.ends
        return {
            "image": self.name,
            f"nearest{suffix}": nearest,
            f"farthest{suffix}": farthest,
            "mean": float(self.depth.mean()),
        }

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        nearest, farthest = self.ends
        return [(self.name, f"{nearest:.6g}", f"{farthest:.6g}", f"{self.depth.mean():.6g}", self.unit)]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The map in colours with a scale bar below it."""
        low, high = float(self.depth.min()), float(self.depth.max())
        return with_scale_bar(depth_colours(self.depth, low, high), low, high, self.unit or "(inverse)")

    def pixel_map(self, image: np.ndarray) -> PixelMap:
        """The map in colours, without margins."""
        low, high = float(self.depth.min()), float(self.depth.max())
        ramp = depth_colours(np.linspace(0, 1, SCALE_COLOURS)[None], 0, 1)[0]
        colours = tuple((int(r), int(g), int(b)) for r, g, b in ramp)
        scale = ColourScale(low, high, self.unit, "depth" if self.unit else "inverse depth", colours)
        return PixelMap(depth_colours(self.depth, low, high), self.depth, scale)

    def files(self) -> Mapping[str, bytes]:
        """The map as NumPy's `.npy`."""
        buffer = io.BytesIO()
        np.save(buffer, self.depth)
        return {"-depth.npy": buffer.getvalue()}


@dataclass(frozen=True, eq=False)
class Segmentation(NotebookPicture):
    """A class map.

    Attributes:
        name: name of the image.
        classes: ``[H, W]`` int64 at the size of the image, indices of `labels`.
        labels: K class names.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "label", "fraction")

    name: str
    classes: np.ndarray = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)

    @property
    def fractions(self) -> list[tuple[int, float]]:
        """(class index, fraction of the pixels) of the classes that occur, the largest first."""
        counts = np.bincount(self.classes.ravel(), minlength=len(self.labels))
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda index: -counts[index])
        return [(index, float(counts[index] / self.classes.size)) for index in order]

    def __str__(self) -> str:
        return f"{self.name}: " + ", ".join(f"{self.labels[i]} {fraction:.1%}" for i, fraction in self.fractions[:TOP])

    def to_dict(self) -> dict[str, Any]:
        """The classes that occur, the largest first, with their fraction of the pixels and their mask (COCO RLE)."""
        classes = [
            {"label": self.labels[index], "share": fraction, "segmentation": encode_rle(self.classes == index)}
            for index, fraction in self.fractions
        ]
        return {"image": self.name, "classes": classes}

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, self.labels[index], f"{fraction:.6f}") for index, fraction in self.fractions]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The classes in colours over the image, with a legend below it."""
        drawn = blend(image, class_colours(self.classes, len(self.labels)))
        return with_legend(drawn, sorted(index for index, _ in self.fractions), self.labels)

    def pixel_map(self, image: np.ndarray) -> PixelMap:
        """The classes in colours over the image."""
        count = len(self.labels)
        legend = [LegendEntry(i, self.labels[i], class_colour(i, count), share) for i, share in self.fractions]
        return PixelMap(blend(image, class_colours(self.classes, count)), self.classes, legend=tuple(legend))

    def files(self) -> Mapping[str, bytes]:
        """The class indices as a PNG of 8 bits, of 16 with more than 256 classes."""
        kind = np.uint8 if len(self.labels) <= 256 else np.uint16
        return {"-mask.png": to_png(self.classes.astype(kind))}
