"""What a model can build on: the feature maps of another model of the catalogue."""

from typing import Any

import torch

from saccade.models.zoo import build


def backbone_maps(architecture: str, config: Any) -> list[tuple[int, tuple[int, int]]]:
    """(channels, stride) of a backbone's feature maps, from the finest to the coarsest; nothing is computed."""
    with torch.device("meta"):
        probe = build(architecture, config.to_dict()).eval()
        maps = probe.features(torch.empty(1, config.in_channels, *config.image_size))
    return [(m.features.shape[1], m.stride) for m in maps]
