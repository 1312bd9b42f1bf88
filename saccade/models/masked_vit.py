"""Masked patch prediction: self-supervised pre-training in the original ViT paper (Dosovitskiy et al., arXiv
2010.11929, B.1.2).

As in BERT, half of the patches are masked; of these, 80 % are replaced by a learned token, 10 % by another patch of the
image, and 10 % are left unchanged. The encoder runs on all tokens, and a linear head predicts the mean colour of each
masked patch.

B batch, N patches, D width, K colours.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.mae import MaskedModel, MaskedOutput, spread_noise
from saccade.models.model import LayerGroups
from saccade.models.vit import SIZES, initialise
from saccade.models.vit_encoder import ViTConfig, ViTEncoder
from saccade.nn.transformer import BlockConfig

COLOURS = 8  # levels of each channel


@dataclass(frozen=True)
class MaskedViTConfig(Config):
    """A ViT encoder that predicts the colours of masked patches.

    Attributes:
        block, depth, image_size, patch_size, in_channels: as in a ViT.
        mask_ratio: fraction of the patches that is masked, in (0, 1].
        replaced: fraction of the masked patches that the learned token replaces.
        swapped: fraction of the masked patches that another patch of the image replaces.
        num_classes: always 0; the encoder is fine-tuned as a ViT.
    """

    block: BlockConfig
    depth: int = 12
    image_size: tuple[int, int] = (224, 224)
    patch_size: tuple[int, int] = (16, 16)
    in_channels: int = 3
    mask_ratio: float = 0.5
    replaced: float = 0.8
    swapped: float = 0.1
    num_classes: int = 0

    def __post_init__(self) -> None:
        if self.num_classes:
            raise ValueError("masked patch prediction has no classes: num_classes must be 0")
        if not 0 < self.mask_ratio <= 1:
            raise ValueError(f"mask_ratio must be in (0, 1], not {self.mask_ratio}")
        if min(self.replaced, self.swapped) < 0 or self.replaced + self.swapped > 1:
            raise ValueError(f"replaced and swapped are fractions of one whole, not {self.replaced} and {self.swapped}")

    @property
    def vit(self) -> ViTConfig:
        return ViTConfig(self.block, self.depth, self.image_size, self.patch_size, self.in_channels, num_classes=0)


class MaskedViT(MaskedModel):
    """``net(images [B, C, H, W])`` -> :class:`MaskedOutput` with logits of colours."""

    position_names = ("encoder.pos_embed.table",)

    def __init__(self, config: MaskedViTConfig):
        super().__init__()
        self.config = config
        dim = config.block.embed_dim
        self.encoder = ViTEncoder(config.vit)
        self.num_features = dim
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.colours = nn.Linear(dim, COLOURS**config.in_channels)
        initialise(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def layer_groups(self) -> LayerGroups:
        first, *blocks = self.encoder.layer_groups()
        return [[*first, self.mask_token], *blocks]

    def num_masked(self, num_patches: int) -> int:
        return round(num_patches * self.config.mask_ratio)

    def forward(self, images: Tensor, noise: Tensor | None = None, masked: Tensor | None = None) -> MaskedOutput:
        """``[B, C, H, W]`` -> the logits of every patch's colour ``[B, N, K]``.

        Args:
            images: images of any valid size.
            noise: ``[B, N]``; the patches with the smallest values are masked. Without it the same evenly spread
                patches are masked in every image, so that results can be compared.
            masked: ``[B, N]`` boolean: the patches that the learned token replaces; replaces `noise`.
        """
        patches = self.encoder.patch_embed(images)
        tokens = patches.tokens  # [B, N, D]
        if masked is not None:
            tokens = torch.where(masked[..., None], self.mask_token.to(tokens.dtype), tokens)
            encoded = self.encoder.norm(self.encoder.blocks(self.encoder.with_prefix(tokens, patches.grid)).tokens)
            return MaskedOutput(self.colours(encoded[:, 1:]), masked)
        if noise is None:
            noise = spread_noise(len(images), tokens.shape[1], images.device)
        order = noise.argsort(dim=1)
        rank = order.argsort(dim=1)  # [B, N] 0 for the first patch that is masked
        num_masked = self.num_masked(order.shape[1])
        replaced = rank < round(num_masked * self.config.replaced)
        swapped = ~replaced & (rank < round(num_masked * (self.config.replaced + self.config.swapped)))
        other = order.flip(1).gather(1, rank)  # a patch from the far end of the random order
        shuffled = tokens.gather(1, other[..., None].expand_as(tokens))
        tokens = torch.where(replaced[..., None], self.mask_token.to(tokens.dtype), tokens)
        tokens = torch.where(swapped[..., None], shuffled, tokens)
        encoded = self.encoder.norm(self.encoder.blocks(self.encoder.with_prefix(tokens, patches.grid)).tokens)
        return MaskedOutput(self.colours(encoded[:, 1:]), rank < num_masked)


def masked_vit_config(size: str, patch_size: int = 16) -> MaskedViTConfig:
    """The sizes of ViT: ``masked_vit_config("b")``."""
    embed_dim, depth, mlp_dim, num_heads = SIZES[size]
    return MaskedViTConfig(BlockConfig(embed_dim, num_heads, mlp_dim), depth, patch_size=(patch_size, patch_size))


def masked_vit_digits_config() -> MaskedViTConfig:
    """The ViT of scikit-learn's digits: 8 x 8 grey pixels, 16 patches of 2 x 2."""
    return MaskedViTConfig(BlockConfig(64, 4, 128), 4, (8, 8), (2, 2), in_channels=1)


# The named models of the catalogue.
masked_vit_ti16_config = partial(masked_vit_config, "ti")
masked_vit_b16_config = partial(masked_vit_config, "b")
