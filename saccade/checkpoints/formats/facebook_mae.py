"""Masked autoencoders as Meta writes them: encoder and decoder (`..._full.pth`).

Files with the encoder alone are plain ViTs in timm's names.
"""

from saccade.checkpoints.blocks import timm_block
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size, num_heads
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.mae import MAEConfig
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "Meta MAE"
ARCHITECTURE = "mae"
DECODER_HEADS = 16  # in every published one


def matches(names: set[str]) -> bool:
    return {"mask_token", "decoder_embed.weight", "decoder_blocks.0.attn.qkv.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> MAEConfig:
    """The config: the shapes show all of it but the numbers of heads."""
    embed_dim, in_channels, *patch_size = shapes["patch_embed.proj.weight"]
    depth = count_layers(shapes, "blocks.{}.norm1.weight")
    width = shapes["decoder_embed.weight"][0]
    patch = (patch_size[0], patch_size[1])
    return MAEConfig(
        block=BlockConfig(embed_dim, num_heads(embed_dim, depth, metadata), shapes["blocks.0.mlp.fc1.weight"][0]),
        decoder=BlockConfig(width, DECODER_HEADS, shapes["decoder_blocks.0.mlp.fc1.weight"][0]),
        depth=depth,
        decoder_depth=count_layers(shapes, "decoder_blocks.{}.norm1.weight"),
        image_size=image_size(shapes["pos_embed"][1] - 1, patch, metadata),
        patch_size=patch,
        in_channels=in_channels,
    )


def rules(config: MAEConfig) -> list[Rule]:
    rules = [rename("cls_token", "encoder.cls_token"), rename("pos_embed", "encoder.pos_embed.table")]
    rules += [rename("mask_token", "mask_token"), rename("decoder_pos_embed", "decoder_pos_embed.table")]
    rules += rename_both("patch_embed.proj", "encoder.patch_embed.proj") + rename_both("norm", "encoder.norm")
    for layer in ("decoder_embed", "decoder_norm", "decoder_pred"):
        rules += rename_both(layer, layer)
    for i in range(config.depth):
        rules += timm_block(f"blocks.{i}", f"encoder.blocks.{i}", config.block)
    for i in range(config.decoder_depth):
        rules += timm_block(f"decoder_blocks.{i}", f"decoder_blocks.{i}", config.decoder)
    return rules


def task(config: MAEConfig) -> str:
    return "masked_image"


def resampling(config: MAEConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of Meta's `interpolate_pos_embed`."""
    return "bicubic"


def preprocessing(config: MAEConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """ImageNet's statistics, the middle of 256 pixels."""
    return plain(config.image_size, config.in_channels, metadata)
