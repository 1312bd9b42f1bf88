"""Models with a backbone from the catalogue: their configs, and the backbone's feature maps."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from saccade.config_io import Config
from saccade.errors import ConfigError
from saccade.models.model import Model
from saccade.models.zoo import build, read_config


class WithBackbone(Config):
    """Mixin for the configs of models with a backbone; image size and channels are the backbone's.

    `ALIASES` are names under which `create` accepts fields of the backbone's config.
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


def freeze_unused(backbone: Model, architecture: str, output: Callable[[Model, Tensor], Iterable[Tensor]]) -> None:
    """Freeze the parameters of a backbone that do not affect the output used by the model around it: a pooling, a last
    norm, a decoder.

    Args:
        backbone: part of another model.
        architecture: its name in the catalogue.
        output: function of (backbone, images ``[B, C, H, W]``) that computes the output in use; it runs once on the
            meta device.
    """
    config = backbone.config
    with torch.device("meta"), torch.inference_mode(False), torch.enable_grad():
        probe = build(architecture, config.to_dict()).eval()
        total = torch.stack([x.sum() for x in output(probe, torch.empty(1, config.in_channels, *config.image_size))])
        total.sum().backward()
    for name, parameter in probe.named_parameters():
        if parameter.grad is None:
            backbone.get_parameter(name).requires_grad_(False)


def all_maps(backbone: Model, images: Tensor) -> list[Tensor]:
    """The feature maps of a backbone, ``[B, C_i, h_i, w_i]`` each."""
    return [m.features for m in backbone.features(images)]


def backbone_maps(architecture: str, config: Any) -> list[tuple[int, tuple[int, int]]]:
    """(channels, stride) of a backbone's feature maps, from the finest to the coarsest, without computing them."""
    with torch.device("meta"):
        probe = build(architecture, config.to_dict()).eval()
        maps = probe.features(torch.empty(1, config.in_channels, *config.image_size))
    return [(m.features.shape[1], m.stride) for m in maps]
