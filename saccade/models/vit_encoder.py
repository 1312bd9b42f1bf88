"""The encoder of the Vision Transformer (Dosovitskiy et al., arXiv 2010.11929): images to tokens.

B batch, H x W pixels, N tokens, P prefix tokens (class token, registers), h x w grid of patches, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
import torch.fx
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, LayerGroups, block_groups, range_indices
from saccade.nn.masks import key_padding_mask
from saccade.nn.patches import PatchEmbed, Size
from saccade.nn.positions import (
    CoordinateAugmentation,
    PositionKind,
    Resampling,
    RotaryKind,
    RotaryPositions,
    make_positions,
)
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig, Encoder

torch.fx.wrap("key_padding_mask")  # decides by an argument, which torch.fx does not follow: one node of a traced graph


@dataclass(frozen=True)
class ViTConfig(Config):
    """A Vision Transformer with every option that published models use. Round-trips through JSON.

    Attributes:
        block: width, heads, MLP and other options of every block.
        depth: number of blocks.
        image_size: (H, W) in pixels for which positions are made; they are resampled for other sizes.
        patch_size: (p, q) in pixels.
        in_channels: 3 for colour, 1 for grey, any other number for other sensors.
        num_classes: width of the logits; 0 omits the head, and the output is the pooled features.
        positions: how positions are encoded: added to the tokens, or as a rotation of queries and keys.
        class_token: whether a learned class token is prepended.
        num_registers: learned tokens after the class token (Darcet et al., arXiv 2309.16588).
        prefix_positions: number of prefix tokens that also have a learned position; 1 in ViT and DeiT, 0 in DeiT III.
        pooling: the head's input: the class token, the mean of the patches, both concatenated ("cls+mean", DINOv2), an
            attention pool, or ("none") each token.
        pool_norm: whether the last norm comes after the mean instead of before it (timm's and MAE's ``fc_norm``).
        pre_logits: width of a tanh layer before the head (ImageNet-21k checkpoints of 2020); None omits it.
        input_norm: whether there is a norm before the first block and the patch embedding has no bias (CLIP).
        pad: whether an image whose size is not a multiple of the patch size is padded, with the padding masked;
            otherwise it is an error.
        crop: whether pixels beyond the last whole patch are ignored instead (SigLIP So400m/14 at 384 pixels).
        drop_path: stochastic depth of the last block, growing linearly from 0.
        position_resampling: how learned positions are resampled for other image sizes, which differs between projects.
        position_augmentation: random shift and scale of `rotary_normalized` coordinates in training.
    """

    block: BlockConfig
    depth: int
    image_size: Size = (224, 224)
    patch_size: Size = (16, 16)
    in_channels: int = 3
    num_classes: int = 1000
    positions: PositionKind = "learned"
    class_token: bool = True
    num_registers: int = 0
    prefix_positions: int = 1
    pooling: Literal["cls", "mean", "cls+mean", "attention", "none"] = "cls"
    pool_norm: bool = False
    pre_logits: int | None = None
    input_norm: bool = False
    pad: bool = False
    crop: bool = False
    drop_path: float = 0.0
    position_resampling: Resampling = "bicubic-antialias"
    position_augmentation: CoordinateAugmentation = field(default_factory=CoordinateAugmentation)

    def __post_init__(self) -> None:
        if self.pooling in ("cls", "cls+mean") and not self.class_token:
            raise ValueError(f"pooling={self.pooling!r} needs class_token=True; else choose 'mean' or 'attention'")
        if self.prefix_positions > self.num_prefix:
            raise ValueError(f"{self.prefix_positions} prefix positions, but only {self.num_prefix} prefix tokens")
        if self.pool_norm and self.pooling != "mean":
            raise ValueError("pool_norm belongs to pooling='mean'")
        if self.position_augmentation.active and self.positions != "rotary_normalized":
            raise ValueError("position_augmentation belongs to positions='rotary_normalized'")

    @property
    def num_prefix(self) -> int:
        return int(self.class_token) + self.num_registers

    @property
    def rotary(self) -> bool:
        """Whether positions rotate queries and keys instead of being added to tokens."""
        return self.positions in get_args(RotaryKind)


class Features(NamedTuple):
    """Output of :class:`ViTEncoder`."""

    tokens: Tensor  # [B, P + h*w, D] after the last norm, or [B, leading, D]
    layout: TokenLayout
    taps: tuple[Tensor, ...]  # [B, P + h*w, D] after each tapped block
    valid: Tensor | None  # [B, h*w] boolean, False for patches of padding; None: all are image

    def patch_map(self) -> FeatureMap:
        """The patches as one map ``[B, D, h, w]``."""
        return FeatureMap(self.layout.to_map(self.tokens), self.layout.stride)


class ViTEncoder(nn.Module):
    """Images to tokens: the encoder shared by ViT, DeiT, MAE, CLIP's image tower and DPT."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        dim = config.block.embed_dim
        self.patch_embed = PatchEmbed(
            config.patch_size, config.in_channels, dim, bias=not config.input_norm, pad=config.pad, crop=config.crop
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.class_token else None
        self.registers = nn.Parameter(torch.zeros(1, config.num_registers, dim)) if config.num_registers else None
        grid = self.patch_embed.grid(config.image_size)
        prefix_positions = config.prefix_positions if config.positions == "learned" else 0
        self.pos_embed = make_positions(config.positions, grid, dim, prefix_positions, config.position_resampling)
        self.rotary = None
        if config.positions == "rotary" or config.positions == "rotary_normalized":
            key_dim = dim if config.block.key_dim is None else config.block.key_dim
            head_dim = key_dim // config.block.num_heads
            self.rotary = RotaryPositions(
                grid, head_dim, config.num_prefix, config.positions, config.position_augmentation
            )
        self.dropout = nn.Dropout(config.block.dropout)
        self.input_norm = nn.LayerNorm(dim, config.block.norm_eps) if config.input_norm else nn.Identity()
        self.blocks = Encoder(config.block, config.depth, drop_path=config.drop_path, rotary=self.rotary is not None)
        has_norm = config.block.norm == "pre" and not config.pool_norm
        self.norm = nn.LayerNorm(dim, config.block.norm_eps) if has_norm else nn.Identity()

    def forward(
        self, images: Tensor, *, taps: Sequence[int] = (), valid: Tensor | None = None, leading: int | None = None
    ) -> Features:
        """``[B, C, H, W]`` of any valid size -> :class:`Features`.

        Args:
            images: normalised by the checkpoint's preprocessing.
            taps: indices of blocks (from 0) whose output is returned too.
            valid: for images padded to one size, which pixels are image, ``[B, H, W]`` boolean.
            leading: number of tokens that the last block returns, counted from the first (class token, registers,
                patches); all by default. With fewer tokens the last block is cheaper.
        """
        patches = self.patch_embed(images, valid)
        x = self.input_norm(self.dropout(self.with_prefix(patches.tokens, patches.grid)))
        mask = key_padding_mask(patches.valid, self.config.num_prefix)
        rotation = None if self.rotary is None else self.rotary(patches.grid)
        encoded = self.blocks(x, taps=taps, mask=mask, rotation=rotation, leading=leading)
        layout = self.token_layout((images.shape[-2], images.shape[-1]))
        return Features(self.norm(encoded.tokens), layout, encoded.taps, patches.valid)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        """The patches after some blocks, ``[B, D, h, w]`` each, without the last norm."""
        encoded = self(images, taps=range_indices(blocks, len(self.blocks), "block"))
        return tuple(FeatureMap(encoded.layout.to_map(tokens), encoded.layout.stride) for tokens in encoded.taps)

    def token_layout(self, image_size: Size) -> TokenLayout:
        """How tokens are arranged over an image of (H, W) pixels."""
        return TokenLayout(self.config.num_prefix, self.patch_embed.grid(image_size), self.config.patch_size)

    def layer_groups(self) -> LayerGroups:
        """The embedding, then each block, the last one with the norm after it."""
        inputs = (self.patch_embed, self.cls_token, self.registers, self.pos_embed, self.input_norm)
        return block_groups(inputs, self.blocks, [self.norm])

    def with_prefix(self, patches: Tensor, grid: Size) -> Tensor:
        """Prefix tokens followed by patches ``[B, h*w, D]``, both with their positions: ``[B, P + h*w, D]``."""
        prefix: list[Tensor] = [t for t in (self.cls_token, self.registers) if t is not None]
        if self.pos_embed is not None:
            table, count = self.pos_embed(grid), self.pos_embed.num_prefix  # [1, positions of the prefix + h*w, D]
            patches = patches + table[:, count:]
            if count:
                tokens = torch.cat(prefix, dim=1)
                prefix = [tokens[:, :count] + table[:, :count]]
                if count < self.config.num_prefix:  # a part without tokens ends OpenVINO's conversion
                    prefix.append(tokens[:, count:])
        return torch.cat([*(t.expand(patches.shape[0], -1, -1) for t in prefix), patches], dim=1)
