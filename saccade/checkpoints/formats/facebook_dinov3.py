"""DINOv3's ViT as Meta writes it (Siméoni et al., arXiv 2508.10104).

One tensor for queries, keys and values, whose bias a mask switches off for the keys; the frequencies of the positions.
"""

import torch
from torch import Tensor

from saccade.checkpoints.blocks import rotary_attention
from saccade.checkpoints.mapping import Rule, join, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError
from saccade.models.vit import DINOV3_AUGMENTATION, DINOV3_SIZES
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.transformer import BlockConfig

NAME = "Meta DINOv3"
ARCHITECTURE = "vit"
PERIODS = "rope_embed.periods"
SATELLITE = {"mean": (0.430, 0.411, 0.296), "std": (0.213, 0.156, 0.143)}  # of the images of SAT-493M


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The biases of queries and values apart, without that of the keys, which the mask switches off.

    Raises:
        CheckpointError: a key's bias without a mask, or positions of other frequencies than the published ones.
    """
    if "storage_tokens" not in tensors:
        return tensors
    named = dict(tensors)
    periods = named.pop(PERIODS, None)
    if periods is not None:
        count = len(periods)
        published = 100.0 ** (torch.arange(count, dtype=torch.float64) / count)
        if not torch.allclose(periods.double(), published, rtol=0.02):  # they are stored in bfloat16
            raise CheckpointError(f"{PERIODS}: other frequencies than those of the published models are not supported")
    for name in [name for name in named if name.endswith("attn.qkv.bias")]:
        bias, mask = named.pop(name), named.pop(f"{name}_mask", None)
        query, key, value = bias.chunk(3)
        if mask is None and bool(key.any()):
            raise CheckpointError(f"{name}: a bias of the keys, which DINOv3 does not have, without a mask")
        if mask is not None and bool(mask.chunk(3)[1].any()):
            raise CheckpointError(f"{name}_mask: keys with a bias, which DINOv3 does not have")
        block = name.removesuffix("qkv.bias")
        named[f"{block}q_bias"], named[f"{block}v_bias"] = query, value
    return named


def matches(names: set[str]) -> bool:
    return {"storage_tokens", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.ls1.gamma"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    embed_dim, in_channels, *patch_size = shapes["patch_embed.proj.weight"]
    depth = count_layers(shapes, "blocks.{}.norm1.weight")
    gated = "blocks.0.mlp.w1.weight" in shapes
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=num_heads(embed_dim, metadata),
        mlp_dim=shapes[f"blocks.0.mlp.{'w1' if gated else 'fc1'}.weight"][0],
        norm_eps=1e-5,
        activation="swiglu" if gated else "gelu",
        qkv_bias="blocks.0.attn.q_bias" in shapes,
        key_bias=False,
        layer_scale=1e-5,
    )
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=metadata.size((256, 256)),
        patch_size=(patch_size[0], patch_size[1]),
        in_channels=in_channels,
        num_classes=0,
        positions="rotary_normalized",
        num_registers=shapes["storage_tokens"][1],
        prefix_positions=0,
        position_augmentation=DINOV3_AUGMENTATION,
    )


def num_heads(embed_dim: int, metadata: CheckpointMetadata) -> int:
    """The caller's, else that of the published models: heads of 64 features, of 128 in the one of 7B parameters."""
    head_dim = 128 if embed_dim == DINOV3_SIZES["7b16"][0] else 64
    heads = metadata.options.get("block.num_heads") or embed_dim // head_dim
    if embed_dim % heads:
        raise CheckpointError(f"no published DINOv3 has a width of {embed_dim}: give options={{'block.num_heads': …}}")
    return heads


def rules(config: ViTConfig) -> list[Rule]:
    rules = rename_both("patch_embed.proj", "encoder.patch_embed.proj") + rename_both("norm", "encoder.norm")
    rules += [rename("cls_token", "encoder.cls_token")]
    rules += [rename("storage_tokens", "encoder.registers")] if config.num_registers else []
    for i in range(config.depth):
        theirs, ours = f"blocks.{i}", f"encoder.blocks.{i}"
        rules += rotary_attention(f"{theirs}.attn", f"{ours}.attn", config.block)
        for layer in ("norm1", "norm2", "attn.proj"):
            rules += rename_both(f"{theirs}.{layer}", f"{ours}.{layer}")
        rules += [rename(f"{theirs}.ls{n}.gamma", f"{ours}.ls{n}.gamma") for n in (1, 2)]
        rules += mlp(f"{theirs}.mlp", f"{ours}.mlp", gated=config.block.activation == "swiglu")
    return rules


def mlp(theirs: str, ours: str, *, gated: bool) -> list[Rule]:
    """Two linear maps, or gates, values and what brings them back."""
    if not gated:
        return rename_both(f"{theirs}.fc1", f"{ours}.fc1") + rename_both(f"{theirs}.fc2", f"{ours}.fc2")
    gates = [join([f"{theirs}.w1.{part}", f"{theirs}.w2.{part}"], f"{ours}.fc1.{part}") for part in ("weight", "bias")]
    return gates + rename_both(f"{theirs}.w3", f"{ours}.fc2")


def ignored(name: str) -> bool:
    """The token of masked training, and the second norm of the 7B model, for crops in its training."""
    return name == "mask_token" or name.startswith("local_cls_norm.")


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """The whole image at the model's size; ImageNet's statistics, or those of satellite images by the file's name."""
    statistics = SATELLITE if "sat493m" in metadata.file_name else {}
    size, channels = config.image_size, config.in_channels
    return plain(size, channels, metadata, resize="exact", crop_pct=1.0, interpolation="bilinear", **statistics)
