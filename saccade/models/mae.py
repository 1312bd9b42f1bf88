"""Masked autoencoder (He et al., arXiv 2111.06377): hide most of an image, learn by painting it again.

The encoder, a ViT, sees only the patches that are left; so three quarters hidden make it four times cheaper. A small
decoder gets its tokens, a learned token for each hidden patch, and every position, and says the pixels.

B batch, N patches, V visible ones, p x q pixels of a patch, C channels, D width, E the decoder's width.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, Model
from saccade.models.vit import SIZES, ViTConfig, ViTEncoder, initialise
from saccade.nn.patches import unpatchify
from saccade.nn.positions import LearnedPositions, sinusoidal_2d
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig, Encoder


@dataclass(frozen=True)
class MAEConfig(Config):
    """A masked autoencoder.

    Attributes:
        block: of the encoder; `depth`, `image_size`, `patch_size` and `in_channels` as in a ViT.
        decoder: the decoder's blocks; its width may differ from the encoder's.
        decoder_depth: number of the decoder's blocks.
        mask_ratio: share of the patches that is hidden.
        norm_pixels: whether the pixels of each patch are brought to mean 0 and variance 1 before they are compared.
        num_classes: 0: there are none. An encoder is fine-tuned as a ViT.
    """

    block: BlockConfig
    decoder: BlockConfig
    depth: int = 12
    decoder_depth: int = 8
    image_size: tuple[int, int] = (224, 224)
    patch_size: tuple[int, int] = (16, 16)
    in_channels: int = 3
    mask_ratio: float = 0.75
    norm_pixels: bool = True
    num_classes: int = 0

    def __post_init__(self) -> None:
        if self.num_classes:
            raise ValueError("a masked autoencoder has no classes: num_classes must be 0")
        if not 0 <= self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie in [0, 1), not {self.mask_ratio}")

    @property
    def vit(self) -> ViTConfig:
        return ViTConfig(self.block, self.depth, self.image_size, self.patch_size, self.in_channels, num_classes=0)


class Painted(NamedTuple):
    """What a masked autoencoder makes of images."""

    patches: Tensor  # [B, N, p*q*C] the pixels of every patch as the decoder says them
    hidden: Tensor  # [B, N] boolean, True where the encoder has not seen the patch


class MaskedModel(Model):
    """A ViT's encoder in training without labels: of the whole image it gives what a ViT gives."""

    config: Any
    head_names = ()
    encoder: ViTEncoder

    def embed(self, images: Tensor) -> Tensor:
        """The class token of the whole image, ``[B, D]``."""
        return self.encoder(images).tokens[:, 0]

    def features(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The encoder's patches of the whole image, as one map ``[B, D, h, w]``."""
        found = self.encoder(images)
        return (FeatureMap(found.layout.to_map(found.tokens), found.layout.stride),)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        return self.encoder.token_layout(self.config.image_size if image_size is None else image_size)


class MaskedAutoencoder(MaskedModel):
    """``net(images [B, C, H, W])`` -> :class:`Painted`."""

    position_names = ("encoder.pos_embed.table", "decoder_pos_embed.table")

    def __init__(self, config: MAEConfig):
        super().__init__()
        self.config = config
        width = config.decoder.embed_dim
        self.encoder = ViTEncoder(config.vit)
        self.num_features = config.block.embed_dim
        grid = self.encoder.patch_embed.grid(config.image_size)
        self.decoder_embed = nn.Linear(config.block.embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed = LearnedPositions(grid, width, 1)
        self.decoder_blocks = Encoder(config.decoder, config.decoder_depth)
        self.decoder_norm = nn.LayerNorm(width, config.decoder.norm_eps)
        self.decoder_pred = nn.Linear(width, config.patch_size[0] * config.patch_size[1] * config.in_channels)
        initialise(self)
        nn.init.normal_(self.mask_token, std=0.02)
        for positions in (self.encoder.pos_embed, self.decoder_pos_embed):  # fixed, but part of published files
            assert isinstance(positions, LearnedPositions)
            positions.table.requires_grad_(False)
            positions.table[:, :1] = 0.0
            positions.table[:, 1:] = sinusoidal_2d(grid, positions.table.shape[-1])

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Painted:
        """``[B, C, H, W]`` -> every patch painted.

        Args:
            images: of any legal size.
            noise: ``[B, N]``; the patches with the smallest values stay visible. Random in training unless given; in
                evaluation always the same pattern, so that results can be compared.
        """
        patches = self.encoder.patch_embed(images)
        tokens = self.encoder.with_prefix(patches.tokens, patches.grid)  # [B, 1 + N, D]
        if noise is None:
            noise = torch.rand_like(tokens[:, 1:, 0]) if self.training else spread_noise(tokens[:, 1:, 0])
        order = noise.argsort(dim=1)
        visible = order[:, : int(order.shape[1] * (1 - self.config.mask_ratio))]  # [B, V]
        seen = torch.cat((tokens[:, :1], _take(tokens[:, 1:], visible)), dim=1)
        latent = self.encoder.norm(self.encoder.blocks(seen).tokens)  # [B, 1 + V, D]

        known = self.decoder_embed(latent)  # [B, 1 + V, E]
        unknown = self.mask_token.expand(len(known), order.shape[1] - visible.shape[1], -1)
        in_order = _take(torch.cat((known[:, 1:], unknown), dim=1), order.argsort(dim=1))  # [B, N, E]
        painted = torch.cat((known[:, :1], in_order), dim=1) + self.decoder_pos_embed(patches.grid)
        painted = self.decoder_norm(self.decoder_blocks(painted).tokens)
        hidden = torch.ones_like(noise, dtype=torch.bool).scatter(1, visible, False)
        return Painted(self.decoder_pred(painted)[:, 1:], hidden)

    def images(self, painted: Painted, grid: tuple[int, int]) -> Tensor:
        """The painted pixels as images ``[B, C, H, W]``, normalised as the input (or by patch, with norm_pixels)."""
        return unpatchify(painted.patches, grid, self.config.patch_size)


def spread_noise(like: Tensor) -> Tensor:
    """``[B, N]`` in [0, 1), in every image the same: multiples of the golden ratio, modulo 1, leave no region out."""
    even = torch.arange(like.shape[1], device=like.device, dtype=torch.float32) * 0.6180339887 % 1
    return even.expand(like.shape[0], -1)


def _take(tokens: Tensor, index: Tensor) -> Tensor:
    """``[B, N, D]``, ``[B, V]`` -> ``[B, V, D]``."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def mae_config(size: str, patch_size: int = 16) -> MAEConfig:
    """The published sizes ``mae_config("b")``, ``("l")`` and ``("h", 14)``; "ti" and "s" have a smaller decoder."""
    embed_dim, depth, mlp_dim, num_heads = SIZES[size]
    block = BlockConfig(embed_dim, num_heads, mlp_dim)
    small = embed_dim < 512
    decoder, decoder_depth = (BlockConfig(192, 3, 768), 4) if small else (BlockConfig(512, 16, 2048), 8)
    return MAEConfig(block, decoder, depth, decoder_depth, patch_size=(patch_size, patch_size))


def mae_digits_config() -> MAEConfig:
    """For scikit-learn's digits: 8 x 8 grey pixels, 16 patches of 2 x 2, of which four stay visible."""
    return MAEConfig(BlockConfig(64, 4, 128), BlockConfig(64, 4, 128), 4, 2, (8, 8), (2, 2), in_channels=1)
