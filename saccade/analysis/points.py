"""What one point of an image attends to, in every layer.

L layers, N tokens, h x w grid of patches.
"""

from dataclasses import dataclass

import numpy as np
import torch

from saccade.analysis.attention_maps import self_attention, to_pixels
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import RecordingError
from saccade.nn.recording import record


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
        point: (x, y) in [0, 1], fractions of the width and height of the model's input from its upper left corner.
        budget: memory that the recording may take.

    Raises:
        RecordingError: the point is outside the image, or the model has no self-attention over patches.
    """
    if not all(0 <= coordinate <= 1 for coordinate in point):
        raise RecordingError(f"a point is two fractions between 0 and 1, not {point[0]:g}, {point[1]:g}")
    inputs = predictor.prepare(image)[None]
    with record(predictor.model, budget=budget, tokens=False) as trace:
        predictor.model(inputs.to(predictor.device))
    layout, layers = self_attention(trace, predictor.model)
    (rows, columns), (x, y) = layout.grid, point
    row, column = min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)
    token = layout.index(row, column)
    maps = torch.stack([w[0, :, token, layout.num_prefix :].mean(0).unflatten(0, layout.grid) for w in layers.values()])
    middle = (column + 0.5) / columns, (row + 0.5) / rows
    pixels = to_pixels(predictor.preprocess.denormalize(inputs[0]))
    return PointAttention(name_of(image, 0), pixels, middle, maps.numpy(), tuple(layers))
