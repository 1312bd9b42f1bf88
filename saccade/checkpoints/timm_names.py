"""The timm model of a config: its name, and the arguments that make it equal."""

from typing import Any

from saccade.errors import CheckpointError
from saccade.models.bit import DEPTHS as BIT_DEPTHS
from saccade.models.bit import BiTConfig
from saccade.models.convmixer import ConvMixerConfig
from saccade.models.convnext import ConvNeXtConfig
from saccade.models.deit import DeiTConfig
from saccade.models.hybrid import HybridConfig
from saccade.models.resnet import VARIANTS, ResNetConfig
from saccade.models.vgg import DEPTHS, VGGConfig
from saccade.models.vit_encoder import ViTConfig

POOLS = {"cls": "token", "mean": "avg", "attention": "map"}
STEMS = {(): "vit_tiny_r_s16_p8_224", (2, 2, 2, 2): "vit_small_r26_s32_224", (3, 4, 9): "vit_base_r50_s16_224",
         (3, 4, 6, 3): "vit_large_r50_s32_224"}  # fmt: skip


# timm builds these in the published sizes only.
CONVMIXERS = {(768, 32, 7, 7): "convmixer_768_32", (1536, 20, 9, 7): "convmixer_1536_20",
              (1024, 20, 9, 14): "convmixer_1024_20_ks9_p14"}  # fmt: skip
BITS = {(depths, width): f"resnetv2_{layers}x{width}_bit" for layers, depths in BIT_DEPTHS.items()
        for width in (1, 2, 3, 4)}  # fmt: skip


def timm_arguments(architecture: str, config: Any) -> tuple[str, dict[str, Any]]:
    """(name of a timm model, its arguments); raises CheckpointError where timm has no such network."""
    if isinstance(config, ViTConfig) and config.positions == "rotary_normalized":
        return "vit_small_patch16_dinov3", {
            **_transformer(config),
            "patch_size": list(config.patch_size),
            "num_reg_tokens": config.num_registers,
            "qkv_bias": config.block.qkv_bias,
            "swiglu_mlp": config.block.activation == "swiglu",
            "swiglu_align_to": 1,
            "global_pool": POOLS.get(config.pooling, config.pooling),
        }
    if isinstance(config, ViTConfig):
        return "vit_base_patch16_224", {
            **_transformer(config),
            "patch_size": list(config.patch_size),
            "class_token": config.class_token,
            "reg_tokens": config.num_registers,
            "no_embed_class": config.prefix_positions == 0,
            "init_values": config.block.layer_scale,
            "qkv_bias": config.block.qkv_bias,
            "global_pool": POOLS.get(config.pooling, config.pooling),
            "fc_norm": config.pool_norm,
            "pre_norm": config.input_norm,
            **({} if config.block.activation in ("gelu", "swiglu") else {"act_layer": config.block.activation}),
        }
    if isinstance(config, DeiTConfig):
        return "deit_base_distilled_patch16_224", {**_transformer(config), "patch_size": list(config.patch_size)}
    if isinstance(config, HybridConfig):
        if config.stem.depths not in STEMS or config.stem.width != 64:
            raise CheckpointError(f"timm has no hybrid with the stem {config.stem}")
        return STEMS[config.stem.depths], _transformer(config)
    if isinstance(config, ConvNeXtConfig):
        arguments = {"depths": list(config.depths), "dims": list(config.widths), "patch_size": config.patch_size}
        return "convnext_tiny", {**arguments, "in_chans": config.in_channels}
    if isinstance(config, ConvMixerConfig):
        sizes = (config.width, config.depth, config.kernel_size, config.patch_size)
        return _published(CONVMIXERS, sizes, config.in_channels)
    if isinstance(config, BiTConfig):
        return _published(BITS, (config.depths, config.width_factor), config.in_channels)
    if isinstance(config, ResNetConfig):
        names = {variant: f"resnet{layers}" for layers, variant in VARIANTS.items()}
        name = names.get((config.block, config.depths))
        if name is None or config.width_factor not in (1, 2):
            raise CheckpointError(f"timm has no ResNet of {config.depths} {config.block} blocks")
        return name if config.width_factor == 1 else f"wide_{name}_2", {"in_chans": config.in_channels}
    if isinstance(config, VGGConfig):
        layers = next(layers for layers, depths in DEPTHS.items() if depths == config.depths)
        return f"vgg{layers}_bn" if config.batch_norm else f"vgg{layers}", {"in_chans": config.in_channels}
    raise CheckpointError(f"timm has no {architecture}")


def _published(names: dict[Any, str], sizes: tuple, in_channels: int) -> tuple[str, dict[str, Any]]:
    if sizes not in names:
        raise CheckpointError(f"timm has {', '.join(names.values())}, but none of the size {sizes}")
    return names[sizes], {"in_chans": in_channels}


def _transformer(config: ViTConfig | DeiTConfig | HybridConfig) -> dict[str, Any]:
    return {
        "img_size": list(config.image_size),
        "in_chans": config.in_channels,
        "embed_dim": config.block.embed_dim,
        "depth": config.depth,
        "num_heads": config.block.num_heads,
        "mlp_ratio": config.block.mlp_dim / config.block.embed_dim,
    }
