"""Attention of one point of an image, in every layer.

L layers, N tokens, h x w grid of patches.
"""

from dataclasses import dataclass

import numpy as np
import torch

from saccade.analysis.attention_maps import self_attention, to_pixels
from saccade.analysis.image_points import patch_at, point_in_input
from saccade.analysis.image_run import run_images
from saccade.analysis.inputs import require_images
from saccade.analysis.placed_attention import on_one_grid
from saccade.engine.predictor import ImageLike, Predictor, name_of


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


def point_attention(
    predictor: Predictor, image: ImageLike, point: tuple[float, float], *, budget: str | int = "4 GiB"
) -> PointAttention:
    """Run the model on one image and record the attention of the patch at a point.

    Args:
        predictor: any model with attention among patches: a ViT, a DPT, the encoder of a DETR; or with local or axial
            attention, whose layers have patches of several sizes: all maps are on the grid of the smallest.
        image: the image.
        point: as for :func:`saccade.analysis.image_points.point_in_input`.
        budget: memory that the recording may take.

    Raises:
        RecordingError: the point is outside the image, or the model has no self-attention over patches.
    """
    require_images(predictor)
    prepared, size = predictor.read(image)
    place = point_in_input(point, size, predictor.preprocess)
    run = run_images(predictor, prepared[None], budget=budget)
    placed = [attention for block in run.blocks() for attention in block.attentions]
    if placed:
        tokens = [patch_at(attention.layout, place) for attention in placed]
        maps = on_one_grid([one.rows(token)[0].mean(0) for one, (token, _) in zip(placed, tokens)])
        paths, middle = [one.path for one in placed], tokens[0][1]
    else:
        layout, layers = self_attention(run.trace, run.reader)
        token, middle = patch_at(layout, place)
        rows = [w[0, :, token, layout.num_prefix :].mean(0) for w in layers.values()]
        maps, paths = torch.stack(rows).unflatten(1, layout.grid), list(layers)
    pixels = to_pixels(predictor.preprocess.denormalize(prepared))
    return PointAttention(name_of(image, 0), pixels, middle, maps.numpy(), tuple(paths))
