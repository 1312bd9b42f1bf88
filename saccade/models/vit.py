"""The Vision Transformer (Dosovitskiy et al., arXiv 2010.11929).

The image is split into patches; each is embedded and its position added; a class token is prepended; a transformer
encoder follows; and a head classifies from the class token (or from the mean of the patches, or an attention pool).

B batch, H x W pixels, N tokens, P prefix tokens (class token, registers), h x w grid of patches, D width.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.fx
from torch import Tensor, nn

from saccade.models.model import AttentionStreams, FeatureMap, LayerGroups, Model
from saccade.models.vit_encoder import Features, ViTConfig, ViTEncoder
from saccade.nn.masks import key_padding_mask
from saccade.nn.patches import Size
from saccade.nn.pooling import AttentionPool, masked_mean
from saccade.nn.positions import CoordinateAugmentation
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig

# These decide by an argument, which torch.fx does not follow: each is one node of a traced graph.
torch.fx.wrap("key_padding_mask")
torch.fx.wrap("masked_mean")


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
        """The head's input: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        leading = 1 if self.config.pooling == "cls" else None
        return self.pre_logits(self.fc_norm(self.pooled(self.encoder(images, valid=valid, leading=leading))))

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The patches after the last norm, as one map ``[B, D, h, w]``."""
        return (self.encoder(images).patch_map(),)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.encoder.block_maps(images, blocks)

    def layer_groups(self) -> LayerGroups:
        return self.encoder.layer_groups()

    def pooled(self, features: Features) -> Tensor:
        """Tokens ``[B, N, D]`` -> ``[B, D]`` by the config's pooling."""
        if self.config.pooling == "cls":
            return features.tokens[:, 0]
        if self.config.pooling in ("mean", "cls+mean"):
            mean = masked_mean(features.layout.split(features.tokens)[1], features.valid)
            return mean if self.config.pooling == "mean" else torch.cat((features.tokens[:, 0], mean), dim=1)
        if self.pool is not None:
            return self.pool(features.tokens, key_padding_mask(features.valid, features.layout.num_prefix))
        return features.tokens

    def attention_streams(self) -> AttentionStreams:
        return ("pool.*", "output", "image"), ("*", "image", "image")

    def token_layout(self, image_size: Size | None = None) -> TokenLayout:
        """How tokens are arranged over an image of (H, W) pixels, the config's size by default."""
        return self.encoder.token_layout(self.config.image_size if image_size is None else image_size)


def initialise(module: nn.Module) -> None:
    """Initialise linear maps from a normal distribution of std 0.02, truncated at ±2, with zero biases, as in timm and
    DeiT."""
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
    "gopt": (1536,    40,  6144,    16),  # of SigLIP 2, Tschannen et al., arXiv 2502.14786
}  # fmt: skip


def vit_config(size: str, patch_size: int) -> ViTConfig:
    """The config of a published size, such as ``vit_config("b", 16)``."""
    embed_dim, depth, mlp_dim, num_heads = SIZES[size]
    return ViTConfig(BlockConfig(embed_dim, num_heads, mlp_dim), depth, patch_size=(patch_size, patch_size))


# DINOv3 (Siméoni et al., arXiv 2508.10104): width, depth, MLP width, heads, and whether the MLP is gated.
#                 D    depth    MLP  heads
DINOV3_SIZES = {
    "s16":     ( 384,    12,  1536,     6, False),
    "s16plus": ( 384,    12,  1536,     6, True),
    "b16":     ( 768,    12,  3072,    12, False),
    "l16":     (1024,    24,  4096,    16, False),
    "h16plus": (1280,    32,  5120,    20, True),
    "7b16":    (4096,    40,  8192,    32, True),
}  # fmt: skip
DINOV3_AUGMENTATION = CoordinateAugmentation(rescale=2.0)  # of all published models


def dinov3_config(size: str) -> ViTConfig:
    """The encoder of DINOv3, such as ``dinov3_config("s16")``; published without a head."""
    embed_dim, depth, mlp_dim, num_heads, gated = DINOV3_SIZES[size]
    block = BlockConfig(
        embed_dim, num_heads, mlp_dim, norm_eps=1e-5, activation="swiglu" if gated else "gelu",
        qkv_bias=size != "7b16", key_bias=False, layer_scale=1e-5,
    )  # fmt: skip
    return ViTConfig(
        block, depth, num_classes=0, positions="rotary_normalized", num_registers=4, prefix_positions=0,
        position_augmentation=DINOV3_AUGMENTATION,
    )  # fmt: skip


def dinov2_config(size: str) -> ViTConfig:
    """The encoder of DINOv2 (Oquab et al., arXiv 2304.07193), without registers; the giant's MLP is gated."""
    embed_dim, depth, mlp_dim, num_heads = SIZES[size] if size != "g" else (1536, 40, 4096, 24)
    activation = "swiglu" if size == "g" else "gelu"
    block = BlockConfig(embed_dim, num_heads, mlp_dim, activation=activation, layer_scale=1e-5)
    return ViTConfig(block, depth, image_size=(518, 518), patch_size=(14, 14), num_classes=0)


def vit_lite_config(embed_dim: int, depth: int, patch_size: int = 4) -> ViTConfig:
    """For 32 x 32 pixels: ``vit_lite_config(256, 7)`` is ViT-Lite-7/4 of Hassani et al., arXiv 2104.05704."""
    block = BlockConfig(embed_dim, num_heads=embed_dim // 64, mlp_dim=2 * embed_dim)
    return ViTConfig(block, depth, image_size=(32, 32), patch_size=(patch_size, patch_size), num_classes=10)


def vit_digits_config() -> ViTConfig:
    """For scikit-learn's digits: 8 x 8 grey pixels, 16 patches of 2 x 2, and fixed positions: the images are too few to
    learn positions from."""
    block = BlockConfig(embed_dim=64, num_heads=4, mlp_dim=128)
    return ViTConfig(
        block, depth=4, image_size=(8, 8), patch_size=(2, 2), in_channels=1, num_classes=10,
        positions="sincos_2d", prefix_positions=0,
    )  # fmt: skip


# The named models of the catalogue.
vit_lite7_4_config = partial(vit_lite_config, 256, depth=7)
vit_ti16_config = partial(vit_config, "ti", patch_size=16)
vit_s16_config = partial(vit_config, "s", patch_size=16)
vit_s32_config = partial(vit_config, "s", patch_size=32)
vit_b8_config = partial(vit_config, "b", patch_size=8)
vit_b16_config = partial(vit_config, "b", patch_size=16)
vit_b32_config = partial(vit_config, "b", patch_size=32)
vit_l16_config = partial(vit_config, "l", patch_size=16)
vit_l32_config = partial(vit_config, "l", patch_size=32)
vit_so14_config = partial(vit_config, "so", patch_size=14)
vit_h14_config = partial(vit_config, "h", patch_size=14)
vit_g14_config = partial(vit_config, "g", patch_size=14)
vit_bigg14_config = partial(vit_config, "bigg", patch_size=14)
dinov2_s14_config = partial(dinov2_config, "s")
dinov2_b14_config = partial(dinov2_config, "b")
dinov2_l14_config = partial(dinov2_config, "l")
dinov2_g14_config = partial(dinov2_config, "g")
dinov3_s16_config = partial(dinov3_config, "s16")
dinov3_s16plus_config = partial(dinov3_config, "s16plus")
dinov3_b16_config = partial(dinov3_config, "b16")
dinov3_l16_config = partial(dinov3_config, "l16")
dinov3_h16plus_config = partial(dinov3_config, "h16plus")
dinov3_7b16_config = partial(dinov3_config, "7b16")
