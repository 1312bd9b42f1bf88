"""Perceiver IO: any number of inputs through a few latents (Jaegle et al., arXiv 2103.03206 and 2107.14795).

A small array of latents cross-attends to all inputs, once or several times; in between, the latents attend only to each
other. The cost grows linearly with the number of inputs, so every pixel of an image can be an input. Output queries
then cross-attend to the latents: one query for a class, or one for each position of a grid.

B batch, M inputs, C features of an input, N latents of width D, O output queries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import AttentionStreams, LayerGroups, Model
from saccade.nn.attention import MultiHeadAttention
from saccade.nn.convolution import ConvNorm
from saccade.nn.mlp import Mlp
from saccade.nn.patches import require_images
from saccade.nn.positions import fourier_features
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig, Encoder

Reading = Literal["pixels", "conv1x1", "conv"]
CONV_CHANNELS = 64


@dataclass(frozen=True)
class LatentsConfig:
    """The latent array and its transformer.

    Attributes:
        block: configuration of the blocks among latents.
        count: N.
        depth: number of blocks in a pass.
        passes: how many times the latents pass through the blocks.
        shared: whether all passes share the same blocks, so that more passes add no parameters.
        reads: passes that begin with cross-attention to the inputs: several in the original, one in Perceiver IO.
        heads: number of heads of every cross-attention.
        key_dim, value_dim: total widths of keys and values in the cross-attention; the width of the keys' input by
            default.
    """

    block: BlockConfig
    count: int
    depth: int
    passes: int = 1
    shared: bool = True
    reads: int = 1
    heads: int = 1
    key_dim: int | None = None
    value_dim: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.reads <= self.passes:
            raise ValueError(f"the inputs are read in 1 to {self.passes} passes, not in {self.reads}")


@dataclass(frozen=True)
class PerceiverConfig(Config):
    """A Perceiver of images.

    Attributes:
        latents: see :class:`LatentsConfig`.
        reading: form of the inputs: pixels with Fourier features of their positions; pixels after a 1 x 1 convolution,
            with learned positions; or positions after a strided convolution and pooling, with Fourier features.
        bands: number of frequencies of the Fourier features.
        resolution: (rows, columns); half of it is the highest frequency.
        output: "class" for a single output query; "grid" for one query per input.
    """

    latents: LatentsConfig
    reading: Reading = "pixels"
    bands: int = 64
    resolution: tuple[int, int] = (224, 224)
    width: int = 256  # of the 1 x 1 convolution, and of learned positions
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    output: Literal["class", "grid"] = "class"


class CrossBlock(nn.Module):
    """Cross-attention to a context of another width, then an MLP, both in pre-norm.

    Args:
        dim: width of the queries.
        context_dim: width of the context.
        heads, key_dim, value_dim: see :class:`LatentsConfig`.
        norm_eps: epsilon of the norms.
        residual: whether the attention's output is added to the query, or replaces it.
    """

    def __init__(
        self, dim: int, context_dim: int, heads: int, *, key_dim: int | None = None, value_dim: int | None = None,
        norm_eps: float = 1e-5, residual: bool = True,
    ):  # fmt: skip
        super().__init__()
        key_dim = context_dim if key_dim is None else key_dim
        value_dim = key_dim if value_dim is None else value_dim
        self.residual = residual
        self.norm1, self.context_norm = nn.LayerNorm(dim, norm_eps), nn.LayerNorm(context_dim, norm_eps)
        self.attn = MultiHeadAttention(
            dim, heads, packed=False, context_dim=context_dim, key_dim=key_dim, value_dim=value_dim
        )
        self.norm2, self.mlp = nn.LayerNorm(dim, norm_eps), Mlp(dim, dim)

    def forward(self, queries: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """``[B, Q, D]`` and ``[B, M, C]`` -> ``[B, Q, D]``."""
        attended = self.attn(self.norm1(queries), self.context_norm(context), mask=mask)
        x = queries + attended if self.residual else attended
        return x + self.mlp(self.norm2(x))


class Latents(nn.Module):
    """Inputs ``[B, M, C]`` -> latents ``[B, N, D]``."""

    def __init__(self, config: LatentsConfig, context_dim: int):
        super().__init__()
        self.config = config
        dim, eps = config.block.embed_dim, config.block.norm_eps
        self.latents = nn.Parameter(torch.empty(config.count, dim).normal_(std=0.02))
        different = 1 if config.shared else config.passes

        def read() -> CrossBlock:
            return CrossBlock(
                dim, context_dim, config.heads, key_dim=config.key_dim, value_dim=config.value_dim, norm_eps=eps
            )

        self.read = nn.ModuleList(read() for _ in range(1 if config.shared else config.reads))
        self.blocks = nn.ModuleList(Encoder(config.block, config.depth) for _ in range(different))

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` is True for inputs that are not padding, broadcastable to ``[B, heads, N, M]``."""
        x = self.latents.expand(inputs.shape[0], -1, -1)
        for i in range(self.config.passes):
            if i < self.config.reads:
                x = self.read[i % len(self.read)](x, inputs, mask)
            x = self.blocks[i % len(self.blocks)](x).tokens
        return x

    def layer_groups(self) -> LayerGroups:
        """The latents; then each cross-attention to the inputs and each block, in the order of their first use."""
        groups: LayerGroups = [[self.latents]]
        for index, blocks in enumerate(self.blocks):
            if index < len(self.read):
                groups.append([self.read[index]])
            groups.extend([block] for block in blocks.children())
        return groups


class Perceiver(Model):
    """``net(images [B, C, H, W])`` -> logits ``[B, K]``, or ``[B, K, h, w]`` with a grid of queries."""

    def __init__(self, config: PerceiverConfig):
        super().__init__()
        self.config = config
        dim, eps = config.latents.block.embed_dim, config.latents.block.norm_eps
        positions = 2 + 4 * config.bands
        self.pos_embed: nn.Parameter | None = None
        if config.reading == "conv1x1":
            self.stem: nn.Module = nn.Conv2d(config.in_channels, config.width, 1)
            table = torch.empty(1, config.image_size[0] * config.image_size[1], config.width).normal_(std=0.02)
            self.pos_embed, self.position_names = nn.Parameter(table), ("pos_embed",)
            self.pos_proj: nn.Module = nn.Linear(config.width, config.width)
            features = 2 * config.width
        elif config.reading == "conv":
            self.stem = nn.Sequential(ConvNorm(config.in_channels, CONV_CHANNELS, 7, stride=2), nn.MaxPool2d(3, 2))
            self.pos_proj, features = nn.Identity(), CONV_CHANNELS + positions
        else:
            self.stem, self.pos_proj, features = nn.Identity(), nn.Identity(), config.in_channels + positions
        self.latents = Latents(config.latents, features)
        if config.output == "class":
            self.queries = nn.Parameter(torch.empty(1, dim).normal_(std=0.02))
        else:
            self.query_proj = nn.Linear(features, dim)
        self.decoder = CrossBlock(dim, dim, 1, norm_eps=eps)
        self.num_features = dim
        self.head = nn.Linear(dim, config.num_classes) if config.num_classes else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        inputs, grid = self.inputs(images)
        logits = self.head(self.decode(inputs))  # [B, O, K]
        return logits[:, 0] if self.config.output == "class" else logits.transpose(1, 2).unflatten(2, grid)

    def layer_groups(self) -> LayerGroups:
        groups = self.latents.layer_groups()
        groups[0] += [part for part in (self.stem, self.pos_embed, self.pos_proj) if part is not None]
        query = self.queries if self.config.output == "class" else self.query_proj
        return [*groups, [self.decoder, query]]

    def inputs(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """``[B, C, H, W]`` -> inputs ``[B, M, C']`` with their positions, and their grid (rows, columns)."""
        require_images(images, self.config.in_channels)
        features = self.stem(images)
        grid = (features.shape[2], features.shape[3])
        if self.pos_embed is None:
            axes = [torch.linspace(-1, 1, n, device=images.device) for n in grid]
            places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
            positions = fourier_features(places, self.config.bands, self.config.resolution)[None].to(features.dtype)
        else:
            positions = self.pos_proj(self.pos_embed)
        tokens = features.flatten(2).transpose(1, 2)
        return torch.cat((tokens, positions.expand(tokens.shape[0], -1, -1)), dim=-1), grid

    def decode(self, inputs: Tensor) -> Tensor:
        """Inputs ``[B, M, C']`` -> output of every output query, ``[B, O, D]``."""
        if self.config.output == "class":
            queries = self.queries.expand(inputs.shape[0], -1, -1)
        else:
            queries = self.query_proj(inputs)
        return self.decoder(queries, self.latents(inputs))

    def embed(self, images: Tensor) -> Tensor:
        """The head's input ``[B, D]``; the mean over the output queries of a grid."""
        return self.decode(self.inputs(images)[0]).mean(dim=1)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        """How the inputs, the keys of the latents' cross-attention, are arranged over an image."""
        height, width = self.config.image_size if image_size is None else image_size
        shrink: Callable[[int], int] = (lambda n: ((n + 1) // 2 - 1) // 2) if self.config.reading == "conv" else int
        stride = 4 if self.config.reading == "conv" else 1
        return TokenLayout(0, (shrink(height), shrink(width)), (stride, stride))

    def attention_streams(self) -> AttentionStreams:
        return ("latents.read.*", "latents", "image"), ("latents.*", "latents", "latents"), ("*", "output", "latents")


def perceiver_config(reading: Reading) -> PerceiverConfig:
    """DeepMind's model for ImageNet: 512 latents, eight passes through the same six blocks."""
    block = BlockConfig(1024, 8, 1024, norm_eps=1e-5, attention_dropout=0.1)
    resolution = (56, 56) if reading == "conv" else (224, 224)
    return PerceiverConfig(LatentsConfig(block, 512, 6, passes=8), reading, resolution=resolution)


def perceiver_digits_config() -> PerceiverConfig:
    """For 8 x 8 digits, with every pixel as an input."""
    block = BlockConfig(96, 4, 192, norm_eps=1e-5)
    latents = LatentsConfig(block, 16, 2, passes=2, reads=2, heads=1, key_dim=48, value_dim=96)
    return PerceiverConfig(latents, bands=4, resolution=(8, 8), image_size=(8, 8), in_channels=1, num_classes=10)


# The named models of the catalogue.
perceiver_fourier_config = partial(perceiver_config, "pixels")
perceiver_learned_config = partial(perceiver_config, "conv1x1")
perceiver_conv_config = partial(perceiver_config, "conv")
