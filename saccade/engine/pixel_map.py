"""A prediction for every pixel as a picture with a legend. Loads no torch."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255
MAX_SIDE = 256  # values of the longer side that a page gets


@dataclass(frozen=True)
class ColourScale:
    """Colour scale of a number.

    Attributes:
        low, high: values of the first and the last colour.
        unit: "m", or "".
        name: name of the number, such as "depth".
        colours: at least two, evenly spaced.
    """

    low: float
    high: float
    unit: str
    name: str
    colours: tuple[Colour, ...]


@dataclass(frozen=True)
class LegendEntry:
    """One class of a picture.

    Attributes:
        value: value of its pixels.
        label: its name.
        colour: its colour in the picture.
        share: fraction of the pixels, in [0, 1].
    """

    value: int
    label: str
    colour: Colour
    share: float


@dataclass(frozen=True, eq=False)
class PixelMap:
    """A prediction for every pixel.

    Attributes:
        picture: the coloured prediction, ``[H, W, 3]`` uint8.
        values: numbers, or class indices, ``[H, W]``; None if the picture itself is the prediction.
        scale: scale of numbers; None for classes.
        legend: legend of classes, the most frequent first; () for numbers.
        caption: caption below the picture, or "".
        of_view: whether the picture covers only the part of the image that the model reads.
    """

    picture: np.ndarray
    values: np.ndarray | None
    scale: ColourScale | None = None
    legend: tuple[LegendEntry, ...] = ()
    caption: str = ""
    of_view: bool = False

    def sampled(self) -> np.ndarray:
        """Values of every s-th pixel, so that no side has more than 256: ``[h, w]`` float32; ``[0, 0]`` if there are
        none."""
        if self.values is None:
            return np.zeros((0, 0), np.float32)
        step = -(-max(self.values.shape) // MAX_SIDE)
        return self.values[step // 2 :: step, step // 2 :: step].astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Legend, and the shapes of the picture and of :meth:`sampled`, as JSON values."""
        scale = self.scale
        return {
            "scale": scale and {
                "low": scale.low, "high": scale.high, "unit": scale.unit, "name": scale.name,
                "colours": [css(colour) for colour in scale.colours],
            },
            "legend": [
                {"value": each.value, "label": each.label, "colour": css(each.colour), "share": each.share}
                for each in self.legend
            ],
            "caption": self.caption,
            "ofView": self.of_view,
            "size": list(self.picture.shape[:2]),
            "shape": list(self.sampled().shape),
        }  # fmt: skip


def css(colour: Colour) -> str:
    """``#rrggbb``."""
    return "#" + "".join(f"{part:02x}" for part in colour)


@runtime_checkable
class DrawsPixelMap(Protocol):
    """A result that is a prediction for every pixel."""

    def pixel_map(self, image: np.ndarray) -> PixelMap:
        """The prediction in colours; classes are drawn over the image ``[H, W, 3]`` uint8."""
        ...
