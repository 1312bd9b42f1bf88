"""Patches of images as colours: the first three principal components of their tokens.

As in the figures of DINOv2 (Oquab et al., arXiv 2304.07193): patches of the same colour have similar features, within
an image and across images.

I images, N patches, D width, h x w grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.attention_maps import to_pixels
from saccade.analysis.inputs import require_images
from saccade.analysis.layers import layer_outputs
from saccade.analysis.result import to_plain
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import ConfigError


@dataclass(frozen=True)
class TokenColours:
    """The patches of images, each coloured by its place along the components that all images share.

    Attributes:
        names: of the I images.
        images: the model's inputs, ``[H, W, 3]`` uint8 each.
        layer: whose tokens.
        colours: ``[h, w, 3]`` in [0, 1] of each image.
        variance: of the three components, shares of the whole.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "row", "column", "first", "second", "third")

    names: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    layer: str
    colours: tuple[np.ndarray, ...]
    variance: tuple[float, ...]

    def __str__(self) -> str:
        shares = ", ".join(f"{share:.1%}" for share in self.variance)
        return f"{len(self.names)} images, {self.layer}; variance of the first three principal components: {shares}"

    def to_dict(self) -> dict[str, Any]:
        colours = {name: to_plain(one) for name, one in zip(self.names, self.colours)}
        return {"layer": self.layer, "variance": list(self.variance), "colours": colours}

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (name, row, column, *map(float, one[row, column]))
            for name, one in zip(self.names, self.colours)
            for row, column in np.ndindex(one.shape[:2])
        ]


def token_colours(predictor: Predictor, images: Sequence[ImageLike], *, layer: int = -1) -> TokenColours:
    """Colour the patches of some images by principal components of all of them together.

    Args:
        predictor: any model with patches or feature maps.
        images: one or several.
        layer: number of the block or feature map; negative from the end.

    Raises:
        ConfigError: there is no image, no such layer, or fewer than three patches or features.
    """
    require_images(predictor)
    if not images:
        raise ConfigError("there is no image to colour")
    maps, inputs, path = [], [], ""
    for image in images:
        prepared = predictor.prepare(image)
        grids = layer_outputs(predictor, prepared[None]).grids()
        if not -len(grids) <= layer < len(grids):
            raise ConfigError(f"there is no layer {layer}: they are 0 to {len(grids) - 1}")
        path = list(grids)[layer]
        maps.append(grids[path][0].float().cpu())
        inputs.append(to_pixels(predictor.preprocess.denormalize(prepared)))
    colours, variance = principal_colours(maps)
    names = tuple(name_of(image, number) for number, image in enumerate(images))
    return TokenColours(names, tuple(inputs), path, tuple(one.numpy() for one in colours), variance)


def principal_colours(maps: Sequence[Tensor]) -> tuple[list[Tensor], tuple[float, ...]]:
    """Maps ``[D, h, w]`` -> ``[h, w, 3]`` in [0, 1] each, and the shares of variance of the three components.

    Each component is stretched between its 1st and 99th percentile over all images.
    """
    tokens = torch.cat([one.flatten(1).T for one in maps])  # [N, D] of all images
    if min(tokens.shape) < 3:
        raise ConfigError(f"three components need as many patches and features, and there are {list(tokens.shape)}")
    centred = tokens - tokens.mean(dim=0)
    _, strengths, components = torch.linalg.svd(centred, full_matrices=False)
    components = components[:3]
    # The sign of a component is arbitrary: its largest weight is made positive, so that a second run has these colours.
    signs = components.gather(1, components.abs().argmax(dim=1, keepdim=True)).sign()
    places = centred @ (signs * components).T  # [N, 3]
    low, high = places.quantile(0.01, dim=0), places.quantile(0.99, dim=0)
    levels = ((places - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    parts = levels.split([one.shape[1] * one.shape[2] for one in maps])
    variance = (strengths**2 / (strengths**2).sum().clamp(min=1e-30))[:3]
    return [part.unflatten(0, one.shape[1:]) for part, one in zip(parts, maps)], tuple(variance.tolist())
