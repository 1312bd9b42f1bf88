"""Configs of models around another model of the catalogue."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from saccade.config_io import Config
from saccade.errors import ConfigError
from saccade.models.zoo import read_config


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
