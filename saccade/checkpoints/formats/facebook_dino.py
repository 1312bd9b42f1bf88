"""DINOv2 as Meta writes it, with registers and the giant's gated MLP too; also the teacher of a training checkpoint.

DINO's files have timm's names exactly and are read as such.
"""

import re

from torch import Tensor

from saccade.checkpoints.blocks import timm_block
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size, num_heads
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "Meta DINOv2"
ARCHITECTURE = "vit"
TRAINING_SIZE = (518, 518)  # of the published positions; images are prepared at 224 pixels
HEADS = ("dino_head.", "ibot_head.")  # of self-supervised training, of no use afterwards
CHUNK = re.compile(r"^blocks\.\d+\.(\d+)\.")  # training with FSDP nests the blocks in chunks


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the token and the heads of training, and the blocks in one list."""
    named = {n.removeprefix("backbone."): t for n, t in tensors.items() if not n.startswith(HEADS)}
    if not any(n.startswith("blocks.0.ls1.") for n in named) and any(CHUNK.match(n) for n in named):
        named = {CHUNK.sub(r"blocks.\1.", n): t for n, t in named.items()}
    return named


def matches(names: set[str]) -> bool:
    needed = {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.ls1.gamma"}
    return needed <= names and bool({"mask_token", "register_tokens", "blocks.0.mlp.w12.weight"} & names)


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    embed_dim, in_channels, *patch_size = shapes["patch_embed.proj.weight"]
    depth = count_layers(shapes, "blocks.{}.norm1.weight")
    patch = (patch_size[0], patch_size[1])
    gated = "blocks.0.mlp.w12.weight" in shapes
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=num_heads(embed_dim, depth, metadata),
        mlp_dim=shapes[f"blocks.0.mlp.{'w3' if gated else 'fc2'}.weight"][1],
        activation="swiglu" if gated else "gelu",
        qkv_bias="blocks.0.attn.qkv.bias" in shapes,
        layer_scale=1e-5,
    )
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=image_size(shapes["pos_embed"][1] - 1, patch, metadata),
        patch_size=patch,
        in_channels=in_channels,
        num_classes=0,
        num_registers=shapes.get("register_tokens", (1, 0))[1],
    )


def rules(config: ViTConfig) -> list[Rule]:
    rules = rename_both("patch_embed.proj", "encoder.patch_embed.proj") + rename_both("norm", "encoder.norm")
    rules += [rename("cls_token", "encoder.cls_token"), rename("pos_embed", "encoder.pos_embed.table")]
    rules += [rename("register_tokens", "encoder.registers")] if config.num_registers else []
    for i in range(config.depth):
        block = timm_block(f"blocks.{i}", f"encoder.blocks.{i}", config.block)
        if config.block.activation == "swiglu":
            block = [rule for rule in block if ".mlp." not in rule.theirs[0]]
            for theirs, ours in (("w12", "fc1"), ("w3", "fc2")):
                block += rename_both(f"blocks.{i}.mlp.{theirs}", f"encoder.blocks.{i}.mlp.{ours}")
        rules += block
    return rules


def ignored(name: str) -> bool:
    """The token of masked training."""
    return name == "mask_token"


def resampling(config: ViTConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of `interpolate_pos_encoding`: `torch.hub` builds the models with registers with antialiasing and no offset."""
    return "bicubic-antialias" if config.num_registers else "bicubic-offset"


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """ImageNet's statistics, the middle 224 of 256 pixels."""
    size = (224, 224) if config.image_size == TRAINING_SIZE else config.image_size
    return plain(size, config.in_channels, metadata)
