"""DINOv2, with registers too, as Hugging Face writes it.

Its block scales the branches, the giant's MLP is gated (SwiGLU), and the classifier reads the class token beside the
mean of the patches. The token of its masked training has no use afterwards and is left out.
"""

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

LAYER = "dinov2.encoder.layer.0"
GATED = {"fc1": "weights_in", "fc2": "weights_out"}


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One prefix for all, and without the mask token."""
    renamed = {n.replace("dinov2_with_registers.", "dinov2.", 1): t for n, t in tensors.items()}
    renamed = prefixed(renamed, "dinov2", ("embeddings.", "encoder.", "layernorm."))
    return {name: tensor for name, tensor in renamed.items() if name != "dinov2.embeddings.mask_token"}


def matches(names: set[str]) -> bool:
    return {f"{LAYER}.layer_scale1.lambda1", f"{LAYER}.attention.attention.query.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    config_json = metadata.config
    embed_dim, in_channels, *patch_size = shapes["dinov2.embeddings.patch_embeddings.projection.weight"]
    depth = count_layers(shapes, "dinov2.encoder.layer.{}.norm1.weight")
    gated = f"{LAYER}.mlp.weights_in.weight" in shapes
    patch = (patch_size[0], patch_size[1])
    registers = shapes.get("dinov2.embeddings.register_tokens", (1, 0))[1]
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=config_json.get("num_attention_heads") or num_heads(embed_dim, depth, metadata),
        mlp_dim=shapes[f"{LAYER}.mlp.{'weights_out' if gated else 'fc2'}.weight"][1],
        norm_eps=config_json.get("layer_norm_eps", 1e-6),
        activation="swiglu" if gated else huggingface_vit.activation(config_json),
        qkv_bias=f"{LAYER}.attention.attention.query.bias" in shapes,
        layer_scale=config_json.get("layerscale_value", 1.0),
    )
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=huggingface_vit.told_size(shapes["dinov2.embeddings.position_embeddings"][1] - 1, patch, metadata),
        patch_size=patch,
        in_channels=in_channels,
        num_classes=shapes["classifier.weight"][0] if "classifier.weight" in shapes else 0,
        num_registers=registers,
        pooling="cls+mean" if "classifier.weight" in shapes else "cls",
    )


def rules(config: ViTConfig) -> list[Rule]:
    rules = huggingface_vit.embeddings("dinov2", "encoder")
    rules += [rename("dinov2.embeddings.register_tokens", "encoder.registers")] if config.num_registers else []
    for i in range(config.depth):
        theirs, ours = f"dinov2.encoder.layer.{i}", f"encoder.blocks.{i}"
        rules += huggingface_attention(theirs, ours, config.block)
        for part in ("norm1", "norm2"):
            rules += rename_both(f"{theirs}.{part}", f"{ours}.{part}")
        for part in ("fc1", "fc2"):
            name = GATED[part] if config.block.activation == "swiglu" else part
            rules += rename_both(f"{theirs}.mlp.{name}", f"{ours}.mlp.{part}")
        rules += [rename(f"{theirs}.layer_scale{n}.lambda1", f"{ours}.ls{n}.gamma") for n in (1, 2)]
    rules += rename_both("dinov2.layernorm", "encoder.norm")
    return rules + (rename_both("classifier", "head") if config.num_classes else [])


def resampling(config: ViTConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of the library's `interpolate_pos_encoding`. Only the models with registers use antialiasing."""
    return "bicubic-antialias" if config.num_registers else "bicubic"


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """As `preprocessor_config.json` says; DINOv2 is published with a crop smaller than the size of its positions."""
    return from_huggingface(config.image_size, config.in_channels, metadata)
