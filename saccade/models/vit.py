"""The Vision Transformer: an image is worth 16 x 16 words (Dosovitskiy et al., arXiv 2010.11929).

Cut the image into patches, embed each, add its position, put a class token in front, run a transformer encoder, and
read the class off the class token (or off the mean of the patches, or off an attention pool).

B batch, H x W pixels, N tokens, P prefix tokens (class token, registers), h x w grid of patches, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.fx
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, Model
from saccade.nn.masks import key_padding_mask
from saccade.nn.patches import PatchEmbed, Size
from saccade.nn.positions import PositionKind, make_positions
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import AttentionPool, BlockConfig, Encoder, masked_mean

for function in ("key_padding_mask", "masked_mean"):
    torch.fx.wrap(function)  # decides by an argument, which torch.fx does not follow: one node of a traced graph


@dataclass(frozen=True)
class ViTConfig(Config):
    """A Vision Transformer with every option that published ones use. Round-trips through JSON.

    Attributes:
        block: width, heads, MLP and options of every block.
        depth: number of blocks.
        image_size: (H, W) in pixels for which positions are made; other sizes resample them.
        patch_size: (p, q) in pixels.
        in_channels: 3 for colour, 1 for grey, any other number for other sensors.
        num_classes: width of the logits; 0 leaves the head out, and the pooled features come out.
        positions: how a token knows its place.
        class_token: whether a learned token that gathers the image stands in front.
        num_registers: learned tokens after the class token (Darcet et al., arXiv 2309.16588).
        prefix_positions: how many of the prefix tokens have a learned position too; 1 in ViT and DeiT, 0 in DeiT III.
        pooling: what the head sees: class token, mean of the patches, both side by side ("cls+mean", DINOv2), attention
            pool, or ("none") each token.
        pool_norm: whether the last norm comes after the mean instead of before it (timm's and MAE's ``fc_norm``).
        pre_logits: width of a tanh layer before the head (ImageNet-21k checkpoints of 2020); None for none.
        input_norm: whether a norm stands before the first block, and the patches' embedding has no bias (CLIP).
        pad: whether an image that patches do not tile is padded, and the padding hidden; else it is an error.
        drop_path: stochastic depth of the last block, growing linearly from 0.
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
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if self.pooling in ("cls", "cls+mean") and not self.class_token:
            raise ValueError(f"pooling={self.pooling!r} needs class_token=True; else choose 'mean' or 'attention'")
        if self.prefix_positions > self.num_prefix:
            raise ValueError(f"{self.prefix_positions} prefix positions, but only {self.num_prefix} prefix tokens")
        if self.pool_norm and self.pooling != "mean":
            raise ValueError("pool_norm belongs to pooling='mean'")

    @property
    def num_prefix(self) -> int:
        return int(self.class_token) + self.num_registers


class Features(NamedTuple):
    """Output of :class:`ViTEncoder`."""

    tokens: Tensor  # [B, P + h*w, D] after the last norm
    layout: TokenLayout
    taps: tuple[Tensor, ...]  # [B, P + h*w, D] after each tapped block
    valid: Tensor | None  # [B, h*w] boolean, False for patches of padding; None: all are image


class ViTEncoder(nn.Module):
    """Images to tokens: what ViT, DeiT, MAE, CLIP's image tower and DPT share."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        dim = config.block.embed_dim
        self.patch_embed = PatchEmbed(
            config.patch_size, config.in_channels, dim, bias=not config.input_norm, pad=config.pad
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.class_token else None
        self.registers = nn.Parameter(torch.zeros(1, config.num_registers, dim)) if config.num_registers else None
        grid = self.patch_embed.grid(config.image_size)
        prefix_positions = config.prefix_positions if config.positions == "learned" else 0
        self.pos_embed = make_positions(config.positions, grid, dim, prefix_positions)
        self.dropout = nn.Dropout(config.block.dropout)
        self.input_norm = nn.LayerNorm(dim, config.block.norm_eps) if config.input_norm else nn.Identity()
        self.blocks = Encoder(config.block, config.depth, drop_path=config.drop_path)
        has_norm = config.block.norm == "pre" and not config.pool_norm
        self.norm = nn.LayerNorm(dim, config.block.norm_eps) if has_norm else nn.Identity()

    def forward(self, images: Tensor, *, taps: Sequence[int] = (), valid: Tensor | None = None) -> Features:
        """``[B, C, H, W]`` of any legal size -> :class:`Features`.

        Args:
            images: normalised as the checkpoint's preprocessing says.
            taps: blocks (from 0) whose output is returned too.
            valid: for images padded to one size, which pixels are image, ``[B, H, W]`` boolean.
        """
        patches = self.patch_embed(images, valid)
        x = self.input_norm(self.dropout(self.with_prefix(patches.tokens, patches.grid)))
        mask = key_padding_mask(patches.valid, self.config.num_prefix)
        encoded = self.blocks(x, taps=taps, mask=mask)
        layout = self.token_layout((images.shape[-2], images.shape[-1]))
        return Features(self.norm(encoded.tokens), layout, encoded.taps, patches.valid)

    def token_layout(self, image_size: Size) -> TokenLayout:
        """How tokens lie over an image of (H, W) pixels."""
        return TokenLayout(self.config.num_prefix, self.patch_embed.grid(image_size), self.config.patch_size)

    def with_prefix(self, patches: Tensor, grid: Size) -> Tensor:
        """Patches ``[B, h*w, D]`` with their positions, behind the prefix tokens with theirs: ``[B, P + h*w, D]``."""
        prefix: list[Tensor] = [t for t in (self.cls_token, self.registers) if t is not None]
        if self.pos_embed is not None:
            table, count = self.pos_embed(grid), self.pos_embed.num_prefix  # [1, positions of the prefix + h*w, D]
            patches = patches + table[:, count:]
            if count:
                tokens = torch.cat(prefix, dim=1)
                prefix = [tokens[:, :count] + table[:, :count], tokens[:, count:]]
        return torch.cat([*(t.expand(patches.shape[0], -1, -1) for t in prefix), patches], dim=1)


class VisionTransformer(Model):
    """An image classifier: encoder, pooling, head. ``net(images [B, C, H, W])`` -> logits ``[B, num_classes]``."""

    position_names = ("encoder.pos_embed.table",)

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        dim = config.block.embed_dim
        self.encoder = ViTEncoder(config)
        self.pool = AttentionPool(config.block) if config.pooling == "attention" else None
        self.fc_norm = nn.LayerNorm(dim, config.block.norm_eps) if config.pool_norm else nn.Identity()
        pooled_dim = 2 * dim if config.pooling == "cls+mean" else dim
        self.pre_logits = nn.Identity()
        if config.pre_logits is not None:
            self.pre_logits = nn.Sequential(nn.Linear(pooled_dim, config.pre_logits), nn.Tanh())
        self.num_features = pooled_dim if config.pre_logits is None else config.pre_logits
        self.head = nn.Linear(self.num_features, config.num_classes) if config.num_classes else nn.Identity()
        initialise(self)

    def forward(self, images: Tensor, valid: Tensor | None = None) -> Tensor:
        """``[B, C, H, W]`` -> logits ``[B, num_classes]`` (``[B, N, num_classes]`` with ``pooling="none"``)."""
        return self.head(self.embed(images, valid))

    def embed(self, images: Tensor, valid: Tensor | None = None) -> Tensor:
        """What the head sees: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        return self.pre_logits(self.fc_norm(self.pooled(self.encoder(images, valid=valid))))

    def features(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The patches after the last norm, as one map ``[B, D, h, w]``."""
        found = self.encoder(images)
        return (FeatureMap(found.layout.to_map(found.tokens), found.layout.stride),)

    def pooled(self, features: Features) -> Tensor:
        """Tokens ``[B, N, D]`` -> ``[B, D]`` as the config's pooling says."""
        if self.config.pooling == "cls":
            return features.tokens[:, 0]
        if self.config.pooling in ("mean", "cls+mean"):
            mean = masked_mean(features.layout.split(features.tokens)[1], features.valid)
            return mean if self.config.pooling == "mean" else torch.cat((features.tokens[:, 0], mean), dim=1)
        if self.pool is not None:
            return self.pool(features.tokens, key_padding_mask(features.valid, features.layout.num_prefix))
        return features.tokens

    def token_layout(self, image_size: Size | None = None) -> TokenLayout:
        """How tokens lie over an image of (H, W) pixels, the config's size unless given."""
        return self.encoder.token_layout(self.config.image_size if image_size is None else image_size)


def initialise(module: nn.Module) -> None:
    """Linear maps from a normal of std 0.02 cut at two, biases 0, as timm and DeiT start."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.trunc_normal_(child.weight, std=0.02)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, ViTEncoder):
            for token in (child.cls_token, child.registers):
                if token is not None:
                    nn.init.normal_(token, std=1e-6)


# Width, depth, MLP width and heads; table 2 of Zhai et al., arXiv 2106.04560, and DeiT for Ti.
#             D    depth    MLP  heads
SIZES = {
    "ti":   ( 192,    12,   768,     3),
    "s":    ( 384,    12,  1536,     6),
    "b":    ( 768,    12,  3072,    12),
    "l":    (1024,    24,  4096,    16),
    "so":   (1152,    27,  4304,    16),  # "shape-optimised", Alabdulmohsin et al., arXiv 2305.13035
    "h":    (1280,    32,  5120,    16),
    "g":    (1408,    40,  6144,    16),
    "bigg": (1664,    48,  8192,    16),
}  # fmt: skip


def vit_config(size: str, patch_size: int) -> ViTConfig:
    """The config of a published size, such as ``vit_config("b", 16)``."""
    embed_dim, depth, mlp_dim, num_heads = SIZES[size]
    return ViTConfig(BlockConfig(embed_dim, num_heads, mlp_dim), depth, patch_size=(patch_size, patch_size))


def vit_lite_config(embed_dim: int, depth: int, patch_size: int = 4) -> ViTConfig:
    """For 32 x 32 pixels: ``vit_lite_config(256, 7)`` is ViT-Lite-7/4 of Hassani et al., arXiv 2104.05704."""
    block = BlockConfig(embed_dim, num_heads=embed_dim // 64, mlp_dim=2 * embed_dim)
    return ViTConfig(block, depth, image_size=(32, 32), patch_size=(patch_size, patch_size), num_classes=10)


def vit_digits_config() -> ViTConfig:
    """For scikit-learn's digits: 8 x 8 grey pixels, 16 patches of 2 x 2, fixed positions: few images teach no grid."""
    block = BlockConfig(embed_dim=64, num_heads=4, mlp_dim=128)
    return ViTConfig(
        block, depth=4, image_size=(8, 8), patch_size=(2, 2), in_channels=1, num_classes=10,
        positions="sincos_2d", prefix_positions=0,
    )  # fmt: skip
