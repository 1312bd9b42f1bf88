"""Masked autoencoder (MAE; He et al., arXiv 2111.06377): mask most of an image and reconstruct it.

The encoder, a ViT, runs on the visible patches only, which makes it four times cheaper with three quarters masked. A
small decoder takes its tokens, a learned mask token for each masked patch, and all positions, and predicts the pixels.

B batch, N patches, V visible ones, p x q pixels of a patch, C channels, D width, E the decoder's width.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import AttentionStreams, FeatureMap, LayerGroups, Model, stacked_groups
from saccade.models.vit import SIZES
from saccade.models.vit_encoder import ViTConfig, ViTEncoder
from saccade.nn.attention import xavier_uniform, zero_biases
from saccade.nn.patches import unpatchify
from saccade.nn.positions import LearnedPositions, Resampling, sinusoidal_2d
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig, Encoder


@dataclass(frozen=True)
class MAEConfig(Config):
    """A masked autoencoder.

    Attributes:
        block: configuration of the encoder's blocks; `depth`, `image_size`, `patch_size` and `in_channels` as in a ViT.
        decoder: the decoder's blocks; its width may differ from the encoder's.
        decoder_depth: number of the decoder's blocks.
        mask_ratio: fraction of the patches that is masked, in [0, 1).
        norm_pixels: whether the target of each patch is its pixels normalised to mean 0 and variance 1.
        num_classes: always 0; the encoder is fine-tuned as a ViT.
        position_resampling: how the encoder's and the decoder's positions are resampled, as in a ViT.
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
    position_resampling: Resampling = "bicubic-antialias"

    def __post_init__(self) -> None:
        if self.num_classes:
            raise ValueError("a masked autoencoder has no classes: num_classes must be 0")
        if not 0 <= self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must be in [0, 1), not {self.mask_ratio}")

    @property
    def vit(self) -> ViTConfig:
        return ViTConfig(
            self.block, self.depth, self.image_size, self.patch_size, self.in_channels, num_classes=0,
            position_resampling=self.position_resampling,
        )  # fmt: skip


class MaskedOutput(NamedTuple):
    """Predictions for every patch, and which patches enter the loss."""

    pred: Tensor  # [B, N, p*q*C] pixels; [B, N, K] logits in masked patch prediction
    mask: Tensor  # [B, N] boolean, True for the patches that are masked
    visible: Tensor | None = None  # [B, V] the patches that the encoder reads, in its order; None where it reads all


class MaskedModel(Model, ABC):
    """A ViT encoder pre-trained by masking; :meth:`embed` and :meth:`features` run it on the whole image."""

    config: Any
    head_names = ()
    encoder: ViTEncoder

    @abstractmethod
    def num_masked(self, num_patches: int) -> int:
        """Number of masked patches among the N of an image."""

    def embed(self, images: Tensor) -> Tensor:
        """The class token of the whole image, ``[B, D]``."""
        return self.encoder(images, leading=1).tokens[:, 0]

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The encoder's patches of the whole image, as one map ``[B, D, h, w]``."""
        return (self.encoder(images).patch_map(),)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.encoder.block_maps(images, blocks)

    def attention_streams(self) -> AttentionStreams:
        """The encoder's only: many tokens of the decoder represent no part of the image."""
        return (("encoder.*", "image", "image"),)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        return self.encoder.token_layout(self.config.image_size if image_size is None else image_size)


class MaskedAutoencoder(MaskedModel):
    """``net(images [B, C, H, W])`` -> :class:`MaskedOutput`."""

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
        self.decoder_pos_embed = LearnedPositions(grid, width, 1, config.position_resampling)
        self.decoder_blocks = Encoder(config.decoder, config.decoder_depth)
        self.decoder_norm = nn.LayerNorm(width, config.decoder.norm_eps)
        self.decoder_pred = nn.Linear(width, config.patch_size[0] * config.patch_size[1] * config.in_channels)
        self.initialise()
        for positions in (self.encoder.pos_embed, self.decoder_pos_embed):  # fixed, but part of published files
            assert isinstance(positions, LearnedPositions)
            positions.table.requires_grad_(False)
            positions.table[:, :1] = 0.0
            positions.table[:, 1:] = sinusoidal_2d(grid, positions.table.shape[-1])

    def initialise(self) -> None:
        """Initialise linear maps, including the patch embedding, from Xavier's uniform distribution with zero biases,
        and tokens from a normal distribution of std 0.02."""
        xavier_uniform(self)
        zero_biases(self, nn.Linear)
        patches = self.encoder.patch_embed.proj.weight
        nn.init.xavier_uniform_(patches.view(len(patches), -1))
        for token in (self.encoder.cls_token, self.mask_token):
            assert token is not None
            nn.init.normal_(token, std=0.02)

    def layer_groups(self) -> LayerGroups:
        """The encoder, then the decoder; the layers on the decoder's input belong to its first block."""
        inputs = (self.decoder_embed, self.mask_token, self.decoder_pos_embed)
        return [*self.encoder.layer_groups(), *stacked_groups(inputs, self.decoder_blocks, [self.decoder_norm])]

    def num_masked(self, num_patches: int) -> int:
        return num_patches - int(num_patches * (1 - self.config.mask_ratio))

    def forward(self, images: Tensor, noise: Tensor | None = None, masked: Tensor | None = None) -> MaskedOutput:
        """``[B, C, H, W]`` -> the reconstruction of every patch.

        Args:
            images: images of any valid size.
            noise: ``[B, N]``; the patches with the smallest values stay visible. Without it the same evenly spread
                patches are masked in every image, so that results can be compared.
            masked: ``[B, N]`` boolean: the patches to mask, the same number in every image; replaces `noise`.
        """
        patches = self.encoder.patch_embed(images)
        tokens = self.encoder.with_prefix(patches.tokens, patches.grid)  # [B, 1 + N, D]
        num_patches = tokens.shape[1] - 1
        num_visible = num_patches - (self.num_masked(num_patches) if masked is None else int(masked[0].sum()))
        if masked is not None:
            noise = masked.to(images.dtype)
        elif noise is None:
            noise = spread_noise(len(images), num_patches, images.device)
        order = noise.argsort(dim=1)
        visible = order[:, :num_visible]  # [B, V]
        tokens = torch.cat((tokens[:, :1], _take(tokens[:, 1:], visible)), dim=1)
        latent = self.encoder.norm(self.encoder.blocks(tokens).tokens)  # [B, 1 + V, D]

        embedded = self.decoder_embed(latent)  # [B, 1 + V, E]
        mask_tokens = self.mask_token.expand(len(embedded), num_patches - visible.shape[1], -1)
        in_order = _take(torch.cat((embedded[:, 1:], mask_tokens), dim=1), order.argsort(dim=1))  # [B, N, E]
        decoded = torch.cat((embedded[:, :1], in_order), dim=1) + self.decoder_pos_embed(patches.grid)
        decoded = self.decoder_norm(self.decoder_blocks(decoded).tokens)
        mask = torch.ones_like(noise, dtype=torch.bool).scatter(1, visible, False)
        return MaskedOutput(self.decoder_pred(decoded)[:, 1:], mask, visible)

    def images(self, output: MaskedOutput, grid: tuple[int, int]) -> Tensor:
        """The predicted pixels as images ``[B, C, H, W]``, normalised like the input (or per patch, with
        norm_pixels)."""
        return unpatchify(output.pred, grid, self.config.patch_size)


def spread_noise(count: int, num_patches: int, device: torch.device | None = None) -> Tensor:
    """``[B, N]`` in [0, 1), the same for every image: multiples of the golden ratio modulo 1, which cover the image
    evenly."""
    even = torch.arange(num_patches, device=device, dtype=torch.float32) * 0.6180339887 % 1
    return even.expand(count, -1)


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
    """For scikit-learn's digits: 8 x 8 grey pixels, 16 patches of 2 x 2, four of them visible."""
    return MAEConfig(BlockConfig(64, 4, 128), BlockConfig(64, 4, 128), 4, 2, (8, 8), (2, 2), in_channels=1)


# The named models of the catalogue.
mae_ti16_config = partial(mae_config, "ti")
mae_s16_config = partial(mae_config, "s")
mae_b16_config = partial(mae_config, "b")
mae_l16_config = partial(mae_config, "l")
mae_h14_config = partial(mae_config, "h", patch_size=14)
