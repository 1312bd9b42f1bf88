"""What one point of an image attends to, in every layer.

L layers, N tokens, h x w grid of patches.
"""

from dataclasses import dataclass

import numpy as np
import torch

from saccade.analysis.attention_maps import self_attention, to_pixels
from saccade.data.preprocessing import Preprocessing
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import RecordingError
from saccade.nn.recording import record
from saccade.nn.tokens import TokenLayout


@dataclass(frozen=True)
class PointAttention:
    """One image, a point in it, and the attention of the patch at that point.

    Attributes:
        name: of the image.
        image: the model's input, ``[H, W, 3]`` uint8.
        point: (x, y) of the middle of the patch, as fractions of the image.
        maps: ``[L, h, w]``, the mean over heads; sums to 1 or less (the rest goes to prefix tokens).
        layers: the paths of the L layers.
    """

    name: str
    image: np.ndarray
    point: tuple[float, float]
    maps: np.ndarray
    layers: tuple[str, ...]


@torch.no_grad()
def point_attention(
    predictor: Predictor, image: ImageLike, point: tuple[float, float], *, budget: str | int = "4 GiB"
) -> PointAttention:
    """Run the model on one image and record what the patch at a point attends to.

    Args:
        predictor: any model with self-attention over patches: a ViT, a DPT, the encoder of a DETR.
        image: the image.
        point: as for :func:`point_in_input`.
        budget: memory that the recording may take.

    Raises:
        RecordingError: the point is outside the image, or the model has no self-attention over patches.
    """
    prepared, size = predictor.read(image)
    place = point_in_input(point, size, predictor.preprocess)
    with record(predictor.model, budget=budget, tokens=False) as trace:
        predictor.model(prepared[None].to(predictor.device))
    layout, layers = self_attention(trace, predictor.model)
    token, middle = patch_at(layout, place)
    maps = torch.stack([w[0, :, token, layout.num_prefix :].mean(0).unflatten(0, layout.grid) for w in layers.values()])
    pixels = to_pixels(predictor.preprocess.denormalize(prepared))
    return PointAttention(name_of(image, 0), pixels, middle, maps.numpy(), tuple(layers))


def point_in_input(
    point: tuple[float, float], size: tuple[int, int], preprocessing: Preprocessing
) -> tuple[float, float]:
    """A point as fractions (x, y) in [0, 1] of the width and height of the model's input.

    Args:
        point: such fractions already, from the upper left corner; or a pixel of the image itself, in whole numbers of
            which one is above 1, column first.
        size: (H, W) of the image in pixels.
        preprocessing: of the model, which may crop or pad the image.

    Raises:
        RecordingError: neither, or a pixel outside of the image, or one that the model's crop leaves out.
    """
    x, y = point
    if all(0 <= value <= 1 for value in point):
        return x, y
    if x != round(x) or y != round(y) or min(point) < 0:
        raise RecordingError(f"a point is two fractions between 0 and 1, or a pixel in whole numbers, not {x:g}, {y:g}")
    height, width = size
    if x >= width or y >= height:
        raise RecordingError(f"pixel {x:g}, {y:g} lies outside the image of {width} x {height} pixels")
    left, top, right, bottom = preprocessing.box_of(size)
    place = (x + 0.5 - left) / (right - left), (y + 0.5 - top) / (bottom - top)
    if not all(0 <= value <= 1 for value in place):
        raise RecordingError(
            f"pixel {x:g}, {y:g} is cropped away: the model sees columns {left:.0f} to {right:.0f} and rows {top:.0f} "
            f"to {bottom:.0f} of the image"
        )
    return place


def patch_at(layout: TokenLayout, place: tuple[float, float]) -> tuple[int, tuple[float, float]]:
    """The token of the patch at (x, y), fractions of the input; and the patch's middle, likewise."""
    (rows, columns), (x, y) = layout.grid, place
    row, column = min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)
    return layout.index(row, column), ((column + 0.5) / columns, (row + 0.5) / rows)
