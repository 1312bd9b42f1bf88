"""DINOv3's ViT as timm writes it: an `Eva` with rotary positions, in which features i and i + d / 2 turn together."""

from typing import Any

from saccade.checkpoints.blocks import rotary_attention
from saccade.checkpoints.formats.facebook_dinov3 import num_heads
from saccade.checkpoints.mapping import Rule, join, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.transformer import BlockConfig

NAME = "timm DINOv3"
ARCHITECTURE = "vit"


def matches(names: set[str]) -> bool:
    needed = {
        "patch_embed.proj.weight",
        "reg_token",
        "blocks.0.attn.qkv.weight",
        "blocks.0.gamma_1",
        "blocks.0.norm1.bias",
    }
    others = {"pos_embed", "rope.freqs", "blocks.0.attn.norm.weight", "blocks.0.mlp.norm.weight", "fc_norm.weight"}
    return needed <= names and not others & names  # EVA, PE and others of the same class


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    embed_dim, in_channels, *patch_size = shapes["patch_embed.proj.weight"]
    depth = count_layers(shapes, "blocks.{}.norm1.weight")
    arguments = metadata.config.get("model_args") or {}
    gated = "blocks.0.mlp.fc1_g.weight" in shapes
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=arguments.get("num_heads") or num_heads(embed_dim, metadata),
        mlp_dim=shapes["blocks.0.mlp.fc2.weight"][1],
        norm_eps=1e-5,
        activation="swiglu" if gated else "gelu",
        qkv_bias="blocks.0.attn.q_bias" in shapes,
        key_bias=False,
        layer_scale=1e-5,
    )
    pool = arguments.get("global_pool") or metadata.config.get("global_pool") or "avg"  # of timm, not of the paper
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=metadata.size((256, 256)),
        patch_size=(patch_size[0], patch_size[1]),
        in_channels=in_channels,
        num_classes=shapes["head.weight"][0] if "head.weight" in shapes else 0,
        positions="rotary_normalized",
        num_registers=shapes["reg_token"][1],
        prefix_positions=0,
        pooling="cls" if pool == "token" else "mean",
    )


def rules(config: ViTConfig) -> list[Rule]:
    rules = rename_both("patch_embed.proj", "encoder.patch_embed.proj") + rename_both("norm", "encoder.norm")
    rules += [rename("cls_token", "encoder.cls_token")]
    rules += [rename("reg_token", "encoder.registers")] if config.num_registers else []
    for i in range(config.depth):
        theirs, ours = f"blocks.{i}", f"encoder.blocks.{i}"
        rules += rotary_attention(f"{theirs}.attn", f"{ours}.attn", config.block)
        for layer in ("norm1", "norm2", "attn.proj", "mlp.fc2"):
            rules += rename_both(f"{theirs}.{layer}", f"{ours}.{layer}")
        rules += [rename(f"{theirs}.gamma_{n}", f"{ours}.ls{n}.gamma") for n in (1, 2)]
        gates = ("fc1_g", "fc1_x") if config.block.activation == "swiglu" else ("fc1",)
        for part in ("weight", "bias"):
            rules += [join([f"{theirs}.mlp.{name}.{part}" for name in gates], f"{ours}.mlp.fc1.{part}")]
    return rules + (rename_both("head", "head") if config.num_classes else [])


def unsupported(config: ViTConfig) -> dict[str, str]:
    """Options whose value timm's DINOv3 does not have, and what it has."""
    options: dict[str, Any] = {"norm_eps": 1e-5, "key_bias": False}
    lacking = {f"block.{name}": f"{value}" for name, value in options.items() if getattr(config.block, name) != value}
    return lacking | ({"pooling": "cls or mean"} if config.pooling not in ("cls", "mean") else {})


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From timm's `config.json`; for a bare file ImageNet's statistics and the whole image."""
    size, channels = config.image_size, config.in_channels
    return from_timm(size, channels, metadata) or plain(size, channels, metadata, resize="exact", crop_pct=1.0)
