"""DINOv3's ViT as Hugging Face writes it (Siméoni et al., arXiv 2508.10104).

Axial rotary positions over the image's extent, registers, scaled branches, keys without a bias; the larger models have
a gated MLP (SwiGLU). The token of its masked training has no use afterwards and is left out.
"""

from typing import Any

from torch import Tensor

from saccade.checkpoints.blocks import rotary_pairs
from saccade.checkpoints.formats import huggingface_vit
from saccade.checkpoints.formats.facebook_dinov3 import num_heads
from saccade.checkpoints.mapping import Rule, join, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_huggingface, plain
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError
from saccade.models.vit import DINOV3_AUGMENTATION
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.positions import CoordinateAugmentation
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face DINOv3"
ARCHITECTURE = "vit"
TEMPERATURE = 100.0  # of the rotary positions of all published models


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Blocks as `layer.0`, as in published files, and without the mask token."""
    named = {name.removeprefix("model.") if name.startswith("model.layer.") else name: t for name, t in tensors.items()}
    return {name: tensor for name, tensor in named.items() if name != "embeddings.mask_token"}


def matches(names: set[str]) -> bool:
    return {
        "embeddings.patch_embeddings.weight",
        "layer.0.attention.q_proj.weight",
        "layer.0.layer_scale1.lambda1",
    } <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    config_json = metadata.config
    embed_dim, in_channels, *patch_size = shapes["embeddings.patch_embeddings.weight"]
    depth = count_layers(shapes, "layer.{}.norm1.weight")
    gated = "layer.0.mlp.gate_proj.weight" in shapes
    temperature = config_json.get("rope_theta", TEMPERATURE)
    if temperature != TEMPERATURE:
        raise CheckpointError(f"rotary positions of rope_theta={temperature} are not supported, only of {TEMPERATURE}")
    if gated and config_json.get("hidden_act", "silu") not in ("silu", "swish"):
        raise CheckpointError(f"a gated MLP with hidden_act={config_json['hidden_act']!r} is not supported, only silu")
    size = config_json.get("image_size", 224)
    size = tuple(size) if isinstance(size, list) else size
    if "layer.0.attention.k_proj.bias" in shapes:
        raise CheckpointError("keys with a bias, which no published DINOv3 has, are not supported")
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=config_json.get("num_attention_heads") or num_heads(embed_dim, metadata),
        mlp_dim=shapes["layer.0.mlp.down_proj.weight"][1],
        norm_eps=config_json.get("layer_norm_eps", 1e-5),
        activation="swiglu" if gated else huggingface_vit.activation(config_json),
        qkv_bias="layer.0.attention.q_proj.bias" in shapes,
        key_bias=False,
        layer_scale=config_json.get("layerscale_value", 1.0),
    )
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=metadata.image_size or (size if isinstance(size, tuple) else (size, size)),
        patch_size=(patch_size[0], patch_size[1]),
        in_channels=in_channels,
        num_classes=0,
        positions="rotary_normalized",
        num_registers=shapes.get("embeddings.register_tokens", (1, 0))[1],
        prefix_positions=0,
        position_augmentation=CoordinateAugmentation(
            shift=config_json.get("pos_embed_shift") or 0.0,
            jitter=config_json.get("pos_embed_jitter") or 1.0,
            rescale=config_json.get("pos_embed_rescale", DINOV3_AUGMENTATION.rescale) or 1.0,
        ),
    )


def rules(config: ViTConfig) -> list[Rule]:
    rules = [rename("embeddings.cls_token", "encoder.cls_token")]
    rules += [rename("embeddings.register_tokens", "encoder.registers")] if config.num_registers else []
    rules += rename_both("embeddings.patch_embeddings", "encoder.patch_embed.proj") + rename_both(
        "norm", "encoder.norm"
    )
    for i in range(config.depth):
        rules += layer(f"layer.{i}", f"encoder.blocks.{i}", config.block)
    return rules


def layer(theirs: str, ours: str, config: BlockConfig) -> list[Rule]:
    """A block."""
    rules = rename_both(f"{theirs}.attention.o_proj", f"{ours}.attn.proj")
    for name in "qkv":
        projection, ours_projection = f"{theirs}.attention.{name}_proj", f"{ours}.attn.{name}"
        pairs = () if name == "v" else rotary_pairs(config, config.embed_dim)
        rules += [rename(f"{projection}.weight", f"{ours_projection}.weight", *pairs)]
        if config.qkv_bias and name != "k":
            pairs = () if name == "v" else rotary_pairs(config)
            rules += [rename(f"{projection}.bias", f"{ours_projection}.bias", *pairs)]
    gates = ["gate_proj", "up_proj"] if config.activation == "swiglu" else ["up_proj"]
    for part in ("weight", "bias"):
        rules += [join([f"{theirs}.mlp.{name}.{part}" for name in gates], f"{ours}.mlp.fc1.{part}")]
    rules += rename_both(f"{theirs}.mlp.down_proj", f"{ours}.mlp.fc2")
    for n in (1, 2):
        rules += rename_both(f"{theirs}.norm{n}", f"{ours}.norm{n}")
        rules += [rename(f"{theirs}.layer_scale{n}.lambda1", f"{ours}.ls{n}.gamma")]
    return rules


def describe(config: ViTConfig) -> dict[str, Any]:
    """The `config.json` of the same network."""
    gated, augmentation = config.block.activation == "swiglu", config.position_augmentation
    shared = huggingface_vit.describe_vit(config)
    del shared["qkv_bias"]
    return {
        "architectures": ["DINOv3ViTModel"],
        "model_type": "dinov3_vit",
        **shared,
        "hidden_act": "silu" if gated else shared["hidden_act"],
        "use_gated_mlp": gated,
        "query_bias": config.block.qkv_bias,
        "key_bias": False,
        "value_bias": config.block.qkv_bias,
        "num_register_tokens": config.num_registers,
        "rope_theta": TEMPERATURE,
        "pos_embed_shift": augmentation.shift or None,
        "pos_embed_jitter": augmentation.jitter if augmentation.jitter > 1 else None,
        "pos_embed_rescale": augmentation.rescale if augmentation.rescale > 1 else None,
        "layerscale_value": config.block.layer_scale,
    }


def unsupported(config: ViTConfig) -> dict[str, str]:
    """Options whose value the library's DINOv3 does not have, and what it has."""
    options: dict[str, Any] = {"num_classes": 0, "pooling": "cls"}
    lacking = {name: str(value) for name, value in options.items() if getattr(config, name) != value}
    return lacking | ({"block.key_bias": "False"} if config.block.key_bias else {})


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From `preprocessor_config.json`; without one the processor's defaults, ImageNet's statistics."""
    if metadata.processor:
        return from_huggingface(config.image_size, config.in_channels, metadata)
    size, channels = config.image_size, config.in_channels
    return plain(size, channels, metadata, resize="exact", crop_pct=1.0, interpolation="bilinear")
