"""DeiT with its distillation token, as Meta and timm write it."""

from saccade.checkpoints.blocks import timm_block
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size, num_heads
from saccade.checkpoints.processors import from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.deit import DeiTConfig
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "Meta DeiT, distilled"
ARCHITECTURE = "deit"


def matches(names: set[str]) -> bool:
    return {"dist_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> DeiTConfig:
    """The config: the shapes show all of it but the number of heads."""
    embed_dim, in_channels, *patch_size = shapes["patch_embed.proj.weight"]
    depth = count_layers(shapes, "blocks.{}.norm1.weight")
    patch = (patch_size[0], patch_size[1])
    model_args = metadata.config.get("model_args") or {}
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=model_args.get("num_heads") or num_heads(embed_dim, depth, metadata),
        mlp_dim=shapes["blocks.0.mlp.fc1.weight"][0],
        qkv_bias="blocks.0.attn.qkv.bias" in shapes,
        layer_scale=1e-5 if "blocks.0.ls1.gamma" in shapes else None,
    )
    return DeiTConfig(
        block=block,
        depth=depth,
        image_size=image_size(shapes["pos_embed"][1] - 2, patch, metadata),
        patch_size=patch,
        in_channels=in_channels,
        num_classes=shapes["head.weight"][0] if "head.weight" in shapes else 0,
    )


def rules(config: DeiTConfig) -> list[Rule]:
    rules = [rename("cls_token", "encoder.cls_token"), rename("dist_token", "encoder.registers")]
    rules += [rename("pos_embed", "encoder.pos_embed.table")]
    rules += rename_both("patch_embed.proj", "encoder.patch_embed.proj")
    for i in range(config.depth):
        rules += timm_block(f"blocks.{i}", f"encoder.blocks.{i}", config.block)
    rules += rename_both("norm", "encoder.norm")
    return rules + (rename_both("head", "head") + rename_both("head_dist", "head_dist") if config.num_classes else [])


def resampling(config: DeiTConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of timm's `resample_abs_pos_embed`."""
    return "bicubic-antialias"


def preprocessing(config: DeiTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """ImageNet's statistics; the middle of 256 pixels at 224, nothing cut off at 384."""
    crop = 0.875 if max(config.image_size) < 384 else 1.0
    return from_timm(config.image_size, config.in_channels, metadata) or plain(
        config.image_size, config.in_channels, metadata, crop_pct=crop
    )
