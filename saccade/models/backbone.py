"""Models around another model of the catalogue: their configs, and the feature maps that they build on."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch

from saccade.config_io import Config
from saccade.errors import ConfigError
from saccade.models.zoo import build, read_config


class WithBackbone(Config):
    """Mixin of the configs of models around another model of the zoo, whose image size and channels they have.

    `ALIASES` are names by which `create` finds fields of the backbone's config.
    """

    ALIASES: ClassVar[dict[str, str]] = {
        "image_size": "backbone_config.image_size",
        "in_channels": "backbone_config.in_channels",
    }
    backbone: str
    backbone_config: Any

    @property
    def image_size(self) -> tuple[int, int]:
        return self.backbone_config.image_size

    @property
    def in_channels(self) -> int:
        return self.backbone_config.in_channels

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        if "backbone" not in values or "backbone_config" not in values:
            raise ConfigError("backbone and backbone_config must be given")
        backbone_config = read_config(values["backbone"], values["backbone_config"])
        return super().from_dict({**values, "backbone_config": backbone_config})


def backbone_maps(architecture: str, config: Any) -> list[tuple[int, tuple[int, int]]]:
    """(channels, stride) of a backbone's feature maps, from the finest to the coarsest; nothing is computed."""
    with torch.device("meta"):
        probe = build(architecture, config.to_dict()).eval()
        maps = probe.features(torch.empty(1, config.in_channels, *config.image_size))
    return [(m.features.shape[1], m.stride) for m in maps]
