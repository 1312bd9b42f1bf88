"""What every model of the zoo publishes, whatever is inside."""

from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig


class OnBackbone:
    """What the configs of models around another model of the zoo share: size and channels are those of that model.

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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]  # every config is a dataclass


class OfText:
    """What the configs of models of texts share: a text counts as a picture of one row, so that what a model costs and
    computes is measured as everywhere. `inputs_for` makes words of such a row."""

    block: BlockConfig
    context_length: int

    @property
    def image_size(self) -> tuple[int, int]:
        return 1, self.context_length

    @property
    def in_channels(self) -> int:
        return 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]  # every config is a dataclass

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls(**{**values, "block": BlockConfig(**values["block"])})


class FeatureMap(NamedTuple):
    """Features on a grid over the image: what a detector or a dense head stands on."""

    features: Tensor  # [B, C, h, w]
    stride: tuple[int, int]  # (vertical, horizontal) pixels of the input from one place to the next


class Model(nn.Module):
    """A network with its config.

    Attributes:
        config: a frozen dataclass with `to_dict()` and `from_dict()`, from which the network can be built again. It
            has `image_size`, `in_channels` and `num_classes`.
        num_features: width of what :meth:`embed` gives.
        head_names: parameters that depend on the number of classes.
        position_names: tables of learned positions, which are resampled for another image size.
    """

    config: Any
    num_features: int
    head_names: tuple[str, ...] = ("head.weight", "head.bias")
    position_names: tuple[str, ...] = ()

    def embed(self, images: Tensor) -> Tensor:
        """What the head sees: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        raise ConfigError(f"{type(self).__name__} has no features in front of a head")

    def features(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """``[B, C, H, W]`` -> feature maps, from the finest to the coarsest."""
        raise ConfigError(f"{type(self).__name__} has no feature maps")

    def inputs_for(self, images: Tensor) -> tuple[Tensor, ...]:
        """Everything that a call takes, for counting what it costs: images ``[B, C, H, W]`` alone but in few models."""
        return (images,)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout | None:
        """How tokens lie over an image of (H, W) pixels, the config's size unless given; None where there are none."""
        return None


class Classifier(Model):
    """A network whose head reads one vector an image. ``net(images [B, C, H, W])`` -> logits ``[B, num_classes]``."""

    head: nn.Module

    def forward(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> logits ``[B, num_classes]``."""
        return self.head(self.embed(images))


class PooledClassifier(Classifier):
    """A classifier whose head reads the mean over all places of the last feature map."""

    def embed(self, images: Tensor) -> Tensor:
        """What the head sees: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        return self.features(images)[-1].features.mean(dim=(2, 3))
