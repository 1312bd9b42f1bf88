"""The base class of all models, and mixins of their configs."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.errors import ConfigError
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig


class TextInput(Config):
    """Mixin for the configs of text models, which have no image size and no channels."""

    image_size: ClassVar[None] = None
    in_channels: ClassVar[None] = None
    block: BlockConfig
    context_length: int


LayerGroups = list[list[nn.Module | nn.Parameter]]
AttentionStreams = tuple[tuple[str, str, str], ...]


class FeatureMap(NamedTuple):
    """Features on a grid over the image: the input of a detector's or a dense head."""

    features: Tensor  # [B, C, h, w]
    stride: tuple[int, int]  # (vertical, horizontal) pixels of the input from one place to the next


class Model(nn.Module):
    """A network with its config.

    Attributes:
        config: a frozen dataclass with `to_dict()` and `from_dict()`, from which the network can be rebuilt. It has
            `image_size`, `in_channels` (both None for text models) and `num_classes`.
        num_features: width of the output of :meth:`embed`.
        head_names: parameters that depend on the number of classes.
        position_names: tables of learned positions, which are resampled for another image size.
    """

    config: Any
    num_features: int
    head_names: tuple[str, ...] = ("head.weight", "head.bias")
    position_names: tuple[str, ...] = ()

    def embed(self, images: Tensor) -> Tensor:
        """The head's input: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        raise ConfigError(f"{type(self).__name__} has no features in front of a head")

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """``[B, C, H, W]`` -> the feature maps for a detector or a dense head, from the finest to the coarsest; for a
        transformer, the patches after its last norm."""
        raise ConfigError(f"{type(self).__name__} has no feature maps")

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        """``[B, C, H, W]`` -> the patches after some blocks of a transformer, without the last norm; for a network
        without such blocks, the feature maps of these indices. Called by :meth:`features`, which checks the indices."""
        maps = self.feature_maps(images)
        return tuple(maps[i] for i in range_indices(blocks, len(maps), "feature map"))

    def features(self, images: Tensor, layers: Sequence[int] | None = None) -> tuple[FeatureMap, ...]:
        """``[B, C, H, W]`` -> differentiable feature maps ``[B, C_i, h_i, w_i]``.

        Args:
            images: normalised by the checkpoint's preprocessing.
            layers: indices of a transformer's blocks, whose output patches are returned (without prefix tokens and the
                last norm), or of a ConvNet's maps; -1 is the last. All maps of :meth:`feature_maps` by default.
                Equivalent to timm's ``forward_intermediates(images, indices=layers)``.

        Raises:
            ConfigError: the model has no feature maps.
            ValueError: there is no such layer.
        """
        return self.feature_maps(images) if layers is None else self.block_maps(images, layers)

    def layer_groups(self) -> LayerGroups:
        """Modules and parameters by depth, from the input to the output, for layer-wise decay of the learning rate.

        Parameters in none of the groups (the head) are above the last one. If a parameter is in several groups, the
        first counts.
        """
        raise ConfigError(f"{type(self).__name__} defines no layer_groups, which layer-wise decay needs")

    def freeze_unused(self) -> None:
        """Freeze parameters that the output does not depend on, before training: distributed processes would wait for
        their gradients."""

    def clamp_parameters(self) -> None:
        """Clamp parameters that must stay in a range; called after every optimizer step."""

    def example_inputs(self, batch_size: int = 1, image_size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        """Positional arguments of a call, on the CPU: for tracing, counting FLOPs and comparing outputs.

        The inputs are the same every time; the global random state is not used.

        Args:
            batch_size: B.
            image_size: (H, W) in pixels; the config's by default.

        Raises:
            ConfigError: an image size is given for a text model.
        """
        height, width = self.config.image_size if image_size is None else image_size
        return (torch.randn(batch_size, self.config.in_channels, height, width, generator=generator()),)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout | None:
        """How tokens are arranged over an image of (H, W) pixels, the config's size by default; None if there are no
        tokens."""
        return None

    def size_changes(self, image_size: tuple[int, int]) -> dict[str, Any]:
        """Changes of the config with which this model, with its parameters, runs on images of (H, W) pixels."""
        return {"image_size": image_size}

    def attention_streams(self) -> AttentionStreams:
        """Which tokens attend to which, for maps through all layers: (pattern of the attentions' paths, name of the
        queries' tokens, name of the keys' tokens). The first pattern that matches a path applies; an attention that
        matches none is not part of such maps. "image" denotes the tokens of :meth:`token_layout`."""
        return (("*", "image", "image"),)


def streams_below(name: str, model: Model) -> AttentionStreams:
    """The attention streams of a part of a model, such as its backbone, by the part's name."""
    return tuple((f"{name}.{pattern}", queries, keys) for pattern, queries, keys in model.attention_streams())


def range_indices(indices: Sequence[int], size: int, name: str) -> list[int]:
    """Non-negative indices into a list of `size` items.

    Raises:
        ValueError: an index is out of range; `name` is the noun in the message.
    """
    for i in indices:
        if not -size <= i < size:
            raise ValueError(f"there is no {name} {i}: they are 0 to {size - 1}")
    return [i % size for i in indices]


def block_groups(
    inputs: Iterable[nn.Module | nn.Parameter | None], blocks: Iterable[nn.Module], last: Iterable[nn.Module] = ()
) -> LayerGroups:
    """Layer groups of a stack of blocks, as in timm.

    Args:
        inputs: modules and parameters that embed the input, one group; None is left out.
        blocks: the blocks, one group each.
        last: modules that belong to the last block's group, such as the norm after it.
    """
    groups: LayerGroups = [[part for part in inputs if part is not None], *([block] for block in blocks)]
    groups[-1] += last
    return groups


def stacked_groups(
    inputs: Iterable[nn.Module | nn.Parameter | None], blocks: Iterable[nn.Module], last: Iterable[nn.Module] = ()
) -> LayerGroups:
    """Like :func:`block_groups` for a stack on top of another: the layers on its input belong to its first block."""
    first, *blocks_after = block_groups(inputs, blocks, last)
    return [first + blocks_after[0], *blocks_after[1:]] if blocks_after else [first]


def parameter_depths(model: Model) -> dict[str, int]:
    """The depth of every parameter by its name: 0 for the input embedding, the largest for the head."""
    depths: dict[int, int] = {}  # by the parameter's identity: a tied one has two names
    groups = model.layer_groups()
    for depth, group in enumerate(groups):
        for part in group:
            for parameter in part.parameters() if isinstance(part, nn.Module) else (part,):
                depths.setdefault(id(parameter), depth)
    return {name: depths.get(id(parameter), len(groups)) for name, parameter in model.named_parameters()}


def example_tokens(batch_size: int, length: int, vocab_size: int, image_size: tuple[int, int] | None) -> Tensor:
    """Token ids ``[B, L]`` for :meth:`Model.example_inputs`.

    Raises:
        ConfigError: there is an image size.
    """
    if image_size is not None:
        raise ConfigError("this model reads texts: it has no image size")
    return torch.randint(vocab_size, (batch_size, length), generator=generator())


def generator() -> torch.Generator:
    """Random generator of example inputs."""
    return torch.Generator().manual_seed(0)


class Classifier(Model):
    """A network whose head takes one vector per image. ``net(images [B, C, H, W])`` -> logits ``[B, num_classes]``."""

    head: nn.Module

    def forward(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> logits ``[B, num_classes]``."""
        return self.head(self.embed(images))


class PooledClassifier(Classifier):
    """A classifier whose head takes the mean over all positions of the last feature map."""

    def embed(self, images: Tensor) -> Tensor:
        """The head's input: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        return self.feature_maps(images)[-1].features.mean(dim=(2, 3))
