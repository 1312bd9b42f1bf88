"""Early convolutions help transformers see better (Xiao et al., arXiv 2106.14881; Hassani et al., arXiv 2104.05704).

A few 3 x 3 convolutions in place of one large patch, then a plain ViT over every position of their map, and the mean
over its tokens. With few images the convolutions provide the locality that a ViT would have to learn.

B batch, C channels, H x W pixels, D width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import Classifier, FeatureMap, LayerGroups, block_groups, range_indices
from saccade.models.vit import initialise
from saccade.nn.convolution import ConvStem
from saccade.nn.patches import require_images
from saccade.nn.positions import LearnedPositions
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig, Encoded, Encoder


@dataclass(frozen=True)
class ConvViTConfig(Config):
    """A ViT behind convolutions.

    Attributes:
        block, depth: block and number of blocks of the transformer.
        channels: output channels of each 3 x 3 convolution; a 1 x 1 convolution to the tokens' width follows.
        strides: stride of each 3 x 3 convolution.
        image_size, in_channels, num_classes, drop_path: as in a ViT.
    """

    block: BlockConfig
    depth: int
    channels: tuple[int, ...] = (64, 128)
    strides: tuple[int, ...] = (1, 2)
    image_size: tuple[int, int] = (32, 32)
    in_channels: int = 3
    num_classes: int = 10
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides) or not self.channels:
            raise ValueError(f"{len(self.channels)} channels and {len(self.strides)} strides: each convolution has one")

    @property
    def stride(self) -> int:
        return math.prod(self.strides)


class ConvViT(Classifier):
    """``net(images [B, C, H, W])`` -> logits ``[B, num_classes]``."""

    position_names = ("pos_embed.table",)

    def __init__(self, config: ConvViTConfig):
        super().__init__()
        self.config = config
        dim = config.block.embed_dim
        self.stem = ConvStem(config.in_channels, config.channels, dim, config.strides)
        self.pos_embed = LearnedPositions(self.token_layout().grid, dim, 0)
        self.dropout = nn.Dropout(config.block.dropout)
        self.blocks = Encoder(config.block, config.depth, drop_path=config.drop_path)
        self.norm = nn.LayerNorm(dim, config.block.norm_eps)
        self.num_features = dim
        self.head = nn.Linear(dim, config.num_classes) if config.num_classes else nn.Identity()
        initialise(self)

    def embed(self, images: Tensor) -> Tensor:
        """The head's input: ``[B, C, H, W]`` -> ``[B, D]``."""
        return self.norm(self.encode(images).tokens).mean(dim=1)

    def encode(self, images: Tensor, taps: Sequence[int] = ()) -> Encoded:
        """``[B, C, H, W]`` -> tokens ``[B, h*w, D]`` before the last norm, and the tokens after the tapped blocks."""
        require_images(images, self.config.in_channels)
        x = self.stem(images)  # [B, D, h, w]
        tokens = x.flatten(2).transpose(1, 2) + self.pos_embed((x.shape[-2], x.shape[-1]))
        return self.blocks(self.dropout(tokens), taps=taps)

    def layer_groups(self) -> LayerGroups:
        return block_groups([self.stem, self.pos_embed], self.blocks, [self.norm])

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The tokens after the last norm, as one map ``[B, D, h, w]``."""
        layout = self.token_layout((images.shape[-2], images.shape[-1]))
        return (FeatureMap(layout.to_map(self.norm(self.encode(images).tokens)), layout.stride),)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        layout = self.token_layout((images.shape[-2], images.shape[-1]))
        encoded = self.encode(images, range_indices(blocks, len(self.blocks), "block"))
        return tuple(FeatureMap(layout.to_map(tokens), layout.stride) for tokens in encoded.taps)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        height, width = self.config.image_size if image_size is None else image_size
        for stride in self.config.strides:  # a 3 x 3 convolution with a margin of one keeps part of a step
            height, width = -(-height // stride), -(-width // stride)
        return TokenLayout(0, (height, width), (self.config.stride, self.config.stride))


def conv_vit_config(embed_dim: int = 256, depth: int = 7) -> ConvViTConfig:
    """For 32 x 32 pixels: tokens of 2 x 2 pixels, the size of CCT-7."""
    return ConvViTConfig(BlockConfig(embed_dim, embed_dim // 64, 2 * embed_dim), depth)


def conv_vit_digits_config() -> ConvViTConfig:
    """For scikit-learn's digits: 8 x 8 grey pixels, three convolutions to 4 x 4 tokens, two blocks."""
    block = BlockConfig(embed_dim=64, num_heads=4, mlp_dim=128)
    return ConvViTConfig(block, depth=2, channels=(64, 128, 128), strides=(1, 2, 1), image_size=(8, 8), in_channels=1)


# The named models of the catalogue.
conv_vit7_config = partial(conv_vit_config, 256, depth=7)
