"""The strongest feature maps of a network for one image, layer by layer.

In AlexNet, early layers respond to edges and late layers to parts of objects.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from saccade.analysis.attention_maps import to_pixels
from saccade.analysis.inputs import require_images
from saccade.analysis.layers import layer_outputs
from saccade.analysis.result import to_plain
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import ConfigError


@dataclass(frozen=True)
class Activations:
    """The strongest channels of every layer for one image.

    Attributes:
        name: of the image.
        image: the model's input, ``[H, W, 3]`` uint8.
        layers: their names.
        channels: indices of K channels of each layer, the strongest first.
        maps: their maps, ``[K, h, w]`` for each layer.
    """

    columns: ClassVar[tuple[str, ...]] = ("layer", "name", "channel", "mean", "largest")

    name: str
    image: np.ndarray
    layers: tuple[str, ...]
    channels: tuple[np.ndarray, ...]
    maps: tuple[np.ndarray, ...]

    def __str__(self) -> str:
        lines = [f"{self.name}: the strongest channels (mean of absolute values)"]
        for number, (layer, channels, maps) in enumerate(zip(self.layers, self.channels, self.maps)):
            listing = " ".join(map(str, channels[:8]))
            lines.append(f"{number:>3}  {maps.shape[1]} x {maps.shape[2]} places  {listing}  {layer}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        layers = [
            {"name": layer, "channels": channels.tolist(), "maps": to_plain(maps)}
            for layer, channels, maps in zip(self.layers, self.channels, self.maps)
        ]
        return {"image": self.name, "layers": layers}

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (number, layer, int(channel), float(one.mean()), float(one.max()))
            for number, (layer, channels, maps) in enumerate(zip(self.layers, self.channels, self.maps))
            for channel, one in zip(channels, maps)
        ]


def activations(predictor: Predictor, image: ImageLike, *, count: int = 16, layer: int | None = None) -> Activations:
    """The strongest channels of every layer, by the mean of their absolute values over the image.

    Args:
        predictor: any model with feature maps or patches.
        image: the image.
        count: number of channels of each layer.
        layer: index of one layer, negative from the end; all by default.

    Raises:
        ConfigError: the model reads texts, there is no such layer, or no channel was requested.
    """
    if count < 1:
        raise ConfigError(f"the number of channels must be at least 1, not {count}")
    require_images(predictor)
    prepared = predictor.prepare(image)
    grids = list(layer_outputs(predictor, prepared[None]).grids().items())
    if layer is not None:
        if not -len(grids) <= layer < len(grids):
            raise ConfigError(f"there is no layer {layer}: they are 0 to {len(grids) - 1}")
        grids = [grids[layer]]
    names, channels, maps = [], [], []
    for name, grid in grids:
        features = grid[0].float().cpu()  # [C, h, w]
        strongest = features.abs().mean(dim=(1, 2)).topk(min(count, len(features))).indices
        names.append(name)
        channels.append(strongest.numpy())
        maps.append(features[strongest].numpy())
    pixels = to_pixels(predictor.preprocess.denormalize(prepared))
    return Activations(name_of(image, 0), pixels, tuple(names), tuple(channels), tuple(maps))
