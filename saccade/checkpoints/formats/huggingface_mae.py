"""Masked autoencoders as Hugging Face writes them (`ViTMAEForPreTraining`)."""

from typing import Any

from torch import Tensor

from saccade.checkpoints.blocks import huggingface_layer
from saccade.checkpoints.formats import huggingface_vit
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_huggingface
from saccade.data.preprocessing import Preprocessing
from saccade.models.mae import MAEConfig
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face MAE"
ARCHITECTURE = "mae"

LATER = "decoder.decoder_encoder.layer."  # what some versions call the decoder's layers
LAYERS = "decoder.decoder_layers."


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace(LATER, LAYERS, 1): tensor for name, tensor in tensors.items()}


def matches(names: set[str]) -> bool:
    return {"decoder.mask_token", "decoder.decoder_embed.weight", f"{LAYERS}0.layernorm_before.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> MAEConfig:
    config_json = metadata.config
    _, in_channels, *patch_size = shapes["vit.embeddings.patch_embeddings.projection.weight"]
    depth = count_layers(shapes, "vit.encoder.layer.{}.layernorm_before.weight")
    patch = (patch_size[0], patch_size[1])
    block = huggingface_vit.block_config(shapes, huggingface_vit.LAYER, depth, metadata)
    decoder = BlockConfig(
        embed_dim=shapes["decoder.decoder_embed.weight"][0],
        num_heads=config_json.get("decoder_num_attention_heads", 16),
        mlp_dim=shapes[f"{LAYERS}0.intermediate.dense.weight"][0],
        norm_eps=block.norm_eps,
        activation=block.activation,
        qkv_bias=block.qkv_bias,
    )
    return MAEConfig(
        block=block,
        decoder=decoder,
        depth=depth,
        decoder_depth=count_layers(shapes, LAYERS + "{}.layernorm_before.weight"),
        image_size=huggingface_vit.image_size_of(shapes["vit.embeddings.position_embeddings"][1] - 1, patch, metadata),
        patch_size=patch,
        in_channels=in_channels,
        mask_ratio=config_json.get("mask_ratio", 0.75),
        norm_pixels=config_json.get("norm_pix_loss", False),
    )


def rules(config: MAEConfig) -> list[Rule]:
    rules = huggingface_vit.embeddings("vit", "encoder") + rename_both("vit.layernorm", "encoder.norm")
    for i in range(config.depth):
        rules += huggingface_layer(f"vit.encoder.layer.{i}", f"encoder.blocks.{i}", config.block)
    for i in range(config.decoder_depth):
        rules += huggingface_layer(f"{LAYERS}{i}", f"decoder_blocks.{i}", config.decoder)
    rules += [rename("decoder.mask_token", "mask_token")]
    rules += [rename("decoder.decoder_pos_embed", "decoder_pos_embed.table")]
    for part in ("decoder_embed", "decoder_norm", "decoder_pred"):
        rules += rename_both(f"decoder.{part}", part)
    return rules


def describe(config: MAEConfig) -> dict[str, Any]:
    """The `config.json` of the same network."""
    return {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        **huggingface_vit.describe_vit(config.vit),
        "decoder_hidden_size": config.decoder.embed_dim,
        "decoder_num_hidden_layers": config.decoder_depth,
        "decoder_num_attention_heads": config.decoder.num_heads,
        "decoder_intermediate_size": config.decoder.mlp_dim,
        "mask_ratio": config.mask_ratio,
        "norm_pix_loss": config.norm_pixels,
    }


def task(config: MAEConfig) -> str:
    return "masked_image"


def resampling(config: MAEConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of the library's `interpolate_pos_encoding`."""
    return "bicubic"


def preprocessing(config: MAEConfig, metadata: CheckpointMetadata) -> Preprocessing:
    return from_huggingface(config.image_size, config.in_channels, metadata)
