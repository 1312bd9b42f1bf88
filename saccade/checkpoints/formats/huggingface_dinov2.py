"""DINOv2, with registers too, as Hugging Face writes it.

Its block scales the branches, the giant's MLP is gated (SwiGLU), and the classifier reads the class token and the mean
of the patches. The token of its masked training has no use afterwards and is left out.
"""

from typing import Any

from torch import Tensor

from saccade.checkpoints.blocks import huggingface_attention, prefixed
from saccade.checkpoints.formats import huggingface_vit
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, num_heads
from saccade.checkpoints.processors import from_huggingface
from saccade.data.preprocessing import Preprocessing
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face DINOv2"
ARCHITECTURE = "vit"

PLAIN, REGISTERS = "dinov2", "dinov2_with_registers"  # the library's two classes, by which it prefixes names
GATED = {"fc1": "weights_in", "fc2": "weights_out"}


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One prefix for all, and without the mask token."""
    prefix = REGISTERS if any(name.endswith("embeddings.register_tokens") for name in tensors) else PLAIN
    renamed = prefixed(tensors, prefix, ("embeddings.", "encoder.", "layernorm."))
    return {name: tensor for name, tensor in renamed.items() if name != f"{prefix}.embeddings.mask_token"}


def matches(names: set[str]) -> bool:
    layers = (f"{prefix}.encoder.layer.0" for prefix in (PLAIN, REGISTERS))
    return any({f"{at}.layer_scale1.lambda1", f"{at}.attention.attention.query.weight"} <= names for at in layers)


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    config_json = metadata.config
    registers = shapes.get(f"{REGISTERS}.embeddings.register_tokens", (1, 0))[1]
    prefix = REGISTERS if registers else PLAIN
    layer = f"{prefix}.encoder.layer.0"
    embed_dim, in_channels, *patch_size = shapes[f"{prefix}.embeddings.patch_embeddings.projection.weight"]
    depth = count_layers(shapes, f"{prefix}.encoder.layer.{{}}.norm1.weight")
    gated = f"{layer}.mlp.weights_in.weight" in shapes
    patch = (patch_size[0], patch_size[1])
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=config_json.get("num_attention_heads") or num_heads(embed_dim, depth, metadata),
        mlp_dim=shapes[f"{layer}.mlp.{'weights_out' if gated else 'fc2'}.weight"][1],
        norm_eps=config_json.get("layer_norm_eps", 1e-6),
        activation="swiglu" if gated else huggingface_vit.activation(config_json),
        qkv_bias=f"{layer}.attention.attention.query.bias" in shapes,
        layer_scale=config_json.get("layerscale_value", 1.0),
    )
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=huggingface_vit.image_size_of(
            shapes[f"{prefix}.embeddings.position_embeddings"][1] - 1, patch, metadata
        ),
        patch_size=patch,
        in_channels=in_channels,
        num_classes=shapes["classifier.weight"][0] if "classifier.weight" in shapes else 0,
        num_registers=registers,
        pooling="cls+mean" if "classifier.weight" in shapes else "cls",
    )


def rules(config: ViTConfig) -> list[Rule]:
    prefix = REGISTERS if config.num_registers else PLAIN
    rules = huggingface_vit.embeddings(prefix, "encoder")
    rules += [rename(f"{prefix}.embeddings.register_tokens", "encoder.registers")] if config.num_registers else []
    for i in range(config.depth):
        theirs, ours = f"{prefix}.encoder.layer.{i}", f"encoder.blocks.{i}"
        rules += huggingface_attention(theirs, ours, config.block)
        for part in ("norm1", "norm2"):
            rules += rename_both(f"{theirs}.{part}", f"{ours}.{part}")
        for part in ("fc1", "fc2"):
            name = GATED[part] if config.block.activation == "swiglu" else part
            rules += rename_both(f"{theirs}.mlp.{name}", f"{ours}.mlp.{part}")
        rules += [rename(f"{theirs}.layer_scale{n}.lambda1", f"{ours}.ls{n}.gamma") for n in (1, 2)]
    rules += rename_both(f"{prefix}.layernorm", "encoder.norm")
    return rules + (rename_both("classifier", "head") if config.num_classes else [])


def describe(config: ViTConfig) -> dict[str, Any]:
    """The `config.json` of the same network, without its labels."""
    kind = "Dinov2WithRegisters" if config.num_registers else "Dinov2"
    ratio = config.block.mlp_dim / config.block.embed_dim
    gated = config.block.activation == "swiglu"
    shared = huggingface_vit.describe_vit(config)
    del shared["intermediate_size"]
    return {
        "architectures": [f"{kind}ForImageClassification" if config.num_classes else f"{kind}Model"],
        "model_type": "dinov2_with_registers" if config.num_registers else "dinov2",
        **shared,
        "hidden_act": "gelu" if gated else shared["hidden_act"],
        "mlp_ratio": int(ratio) if ratio == int(ratio) else ratio,
        "use_swiglu_ffn": gated,
        "layerscale_value": config.block.layer_scale,
        **({"num_register_tokens": config.num_registers} if config.num_registers else {}),
    }


def unsupported(config: ViTConfig) -> dict[str, str]:
    """Options whose value the library's DINOv2 does not have, and what it has."""
    pooling = "cls+mean" if config.num_classes else "cls"
    return {} if config.pooling == pooling else {"pooling": pooling}


def resampling(config: ViTConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of the library's `interpolate_pos_encoding`. Only the models with registers use antialiasing."""
    return "bicubic-antialias" if config.num_registers else "bicubic"


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From `preprocessor_config.json`; DINOv2 is published with a crop smaller than the size of its positions."""
    return from_huggingface(config.image_size, config.in_channels, metadata)
