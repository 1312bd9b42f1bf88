"""ViT, MSN and DeiT with one head as Hugging Face `transformers` writes them: a folder with `config.json`."""

from typing import Any

from torch import Tensor

from saccade.checkpoints.blocks import huggingface_layer, prefixed
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size, num_heads
from saccade.checkpoints.processors import from_huggingface
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.mlp import Activation
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face ViT"
ARCHITECTURE = "vit"

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu",
    "relu": "relu", "silu": "silu", "swish": "silu",
}  # fmt: skip
LAYER = "vit.encoder.layer.0"


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`vit.` before what a model without a head, MSN or DeiT writes with another prefix or none."""
    renamed = {f"vit.{n.removeprefix('deit.')}" if n.startswith("deit.") else n: t for n, t in tensors.items()}
    return prefixed(renamed, "vit", ("embeddings.", "encoder.", "layernorm.", "pooler."))


def matches(names: set[str]) -> bool:
    others = {"decoder.mask_token", "distillation_classifier.weight"}  # MAE, DeiT with two heads
    needed = {"vit.embeddings.patch_embeddings.projection.weight", f"{LAYER}.attention.attention.query.weight"}
    return needed | {f"{LAYER}.layernorm_before.weight"} <= names and not others & names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    """The config: values missing in the JSON are inferred from the shapes, with the defaults of `ViTConfig`."""
    _, in_channels, *patch_size = shapes["vit.embeddings.patch_embeddings.projection.weight"]
    depth = count_layers(shapes, "vit.encoder.layer.{}.layernorm_before.weight")
    distilled = "vit.embeddings.distillation_token" in shapes
    patch = (patch_size[0], patch_size[1])
    pooler = "vit.pooler.dense.weight" if "classifier.weight" not in shapes else ""
    return ViTConfig(
        block=block_config(shapes, LAYER, depth, metadata),
        depth=depth,
        image_size=image_size_of(shapes["vit.embeddings.position_embeddings"][1] - 1 - distilled, patch, metadata),
        patch_size=patch,
        in_channels=in_channels,
        num_classes=shapes["classifier.weight"][0] if "classifier.weight" in shapes else 0,
        num_registers=int(distilled),  # DeiT's second token, here without a head of its own
        prefix_positions=1 + distilled,
        pre_logits=shapes[pooler][0] if pooler in shapes else None,
    )


def block_config(shapes: Shapes, layer: str, depth: int, metadata: CheckpointMetadata) -> BlockConfig:
    """The block from its first layer's shapes and the JSON."""
    config_json = metadata.config
    embed_dim = shapes[f"{layer}.attention.attention.query.weight"][1]
    return BlockConfig(
        embed_dim=embed_dim,
        num_heads=config_json.get("num_attention_heads") or num_heads(embed_dim, depth, metadata),
        mlp_dim=shapes[f"{layer}.intermediate.dense.weight"][0],
        norm_eps=config_json.get("layer_norm_eps", 1e-12),
        activation=activation(config_json),
        qkv_bias=f"{layer}.attention.attention.query.bias" in shapes,
    )


def activation(config_json: dict[str, Any]) -> Activation:
    name = config_json.get("hidden_act", "gelu")
    if name not in ACTIVATIONS:
        raise CheckpointError(f"the activation {name!r} is not supported")
    return ACTIVATIONS[name]


def image_size_of(places: int, patch_size: tuple[int, int], metadata: CheckpointMetadata) -> tuple[int, int]:
    """(H, W) from the JSON, otherwise from the number of positions."""
    size = metadata.config.get("image_size")
    if size is None:
        return image_size(places, patch_size, metadata)
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def rules(config: ViTConfig) -> list[Rule]:
    rules = embeddings("vit", "encoder")
    rules += [rename("vit.embeddings.distillation_token", "encoder.registers")] if config.num_registers else []
    for i in range(config.depth):
        rules += huggingface_layer(f"vit.encoder.layer.{i}", f"encoder.blocks.{i}", config.block)
    rules += rename_both("vit.layernorm", "encoder.norm")
    rules += rename_both("vit.pooler.dense", "pre_logits.0") if config.pre_logits is not None else []
    return rules + (rename_both("classifier", "head") if config.num_classes else [])


def embeddings(theirs: str, ours: str) -> list[Rule]:
    """Class token, positions and patches of all of Hugging Face's ViTs."""
    return [
        rename(f"{theirs}.embeddings.cls_token", f"{ours}.cls_token"),
        rename(f"{theirs}.embeddings.position_embeddings", f"{ours}.pos_embed.table"),
        *rename_both(f"{theirs}.embeddings.patch_embeddings.projection", f"{ours}.patch_embed.proj"),
    ]


def describe(config: ViTConfig) -> dict[str, Any]:
    """The `config.json` of the same network, without its labels."""
    return {"architectures": ["ViTForImageClassification"], "model_type": "vit", **describe_vit(config)}


def describe_vit(config: ViTConfig) -> dict[str, Any]:
    """What the JSON files of all of Hugging Face's ViTs share."""
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    height, width = config.image_size
    return {
        "hidden_size": config.block.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.block.num_heads,
        "intermediate_size": config.block.mlp_dim,
        "hidden_act": names.get(config.block.activation, config.block.activation),
        "layer_norm_eps": config.block.norm_eps,
        "image_size": height if height == width else [height, width],
        "patch_size": config.patch_size[0] if config.patch_size[0] == config.patch_size[1] else list(config.patch_size),
        "num_channels": config.in_channels,
        "qkv_bias": config.block.qkv_bias,
    }


def unsupported(config: ViTConfig) -> dict[str, str]:
    """Options whose value the library's ViT does not have, and what it has."""
    return {"num_registers": "0"} if config.num_registers else {}


def resampling(config: Any, metadata: CheckpointMetadata) -> Resampling:
    """Of the library's `interpolate_pos_encoding`."""
    return "bicubic"


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From `preprocessor_config.json`; without it what `ViTImageProcessor` does by default."""
    return from_huggingface(config.image_size, config.in_channels, metadata)
