"""A prediction for every pixel as a picture, with what its colours mean. Loads no torch."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255
MAX_SIDE = 256  # values of the longer side that a page gets


@dataclass(frozen=True)
class ColourScale:
    """Colours of a number.

    Attributes:
        low, high: of the first and the last colour.
        unit: "m", or "".
        name: of the number: "depth".
        colours: evenly spaced, at least two.
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
        value: of its pixels.
        label: its name.
        colour: in the picture.
        share: of the pixels, in [0, 1].
    """

    value: int
    label: str
    colour: Colour
    share: float


@dataclass(frozen=True, eq=False)
class PixelMap:
    """A prediction for every pixel.

    Attributes:
        picture: in colours, ``[H, W, 3]`` uint8.
        values: numbers, or class indices, ``[H, W]``; None where the picture itself is the prediction.
        scale: of numbers; None of others.
        legend: of classes, the most frequent first; () of others.
        caption: below the picture, "".
        of_view: whether the picture is of what the model reads of the image, not of the whole.
    """

    picture: np.ndarray
    values: np.ndarray | None
    scale: ColourScale | None = None
    legend: tuple[LegendEntry, ...] = ()
    caption: str = ""
    of_view: bool = False

    def sampled(self) -> np.ndarray:
        """Values of every s-th pixel, so that no side has more than 256: ``[h, w]`` float32; ``[0, 0]`` of none."""
        if self.values is None:
            return np.zeros((0, 0), np.float32)
        step = -(-max(self.values.shape) // MAX_SIDE)
        return self.values[step // 2 :: step, step // 2 :: step].astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """What the colours mean, and the shapes of the picture and of :meth:`sampled`, as JSON holds them."""
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
        """The prediction as colours, of classes over the image ``[H, W, 3]`` uint8."""
        ...
