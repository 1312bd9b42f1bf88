"""ViT and DeiT as timm and Meta's DeiT write them. Our names are theirs, but for the parts that we nest."""

import re

from torch import Tensor

from saccade.checkpoints.blocks import timm_block, timm_pool
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size, num_heads
from saccade.checkpoints.processors import HALF, from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.mlp import Activation
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "timm ViT"
ARCHITECTURE = "vit"
PROJECTION_HEAD = ("head.mlp.", "head.last_layer.")


# Heads of the architectures of timm that do not follow from the width: what a name begins with -> their number.
HEADS = {"vit_base_patch16_gap": 16, "vit_giantopt": 16, "test_vit3": 3, "test_vit4": 3, "test_vit": 2}
GELU_TANH = (
    "vit_giantopt", "vit_base_patch32_siglip", "vit_so400m_patch16_siglip", "vit_large_patch16_siglip_512",
    "vit_large_patch16_siglip_gap_512",
)  # fmt: skip


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the token of masked training and the projection head of DINO's training, of no use afterwards."""
    if any(name.startswith(PROJECTION_HEAD) for name in tensors):  # DINO's teacher: an encoder beside that head
        tensors = {n.removeprefix("backbone."): t for n, t in tensors.items() if not n.startswith(PROJECTION_HEAD)}
    return {name: tensor for name, tensor in tensors.items() if name != "mask_token"}


def matches(names: set[str]) -> bool:
    return {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.norm1.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    """The config: the shapes show all of it but the number of heads."""
    embed_dim, in_channels, *patch_size = shapes["patch_embed.proj.weight"]
    depth = count_layers(shapes, "blocks.{}.norm1.weight")
    model_args = metadata.config.get("model_args") or {}
    name = metadata.config.get("architecture") or metadata.file_name
    class_token = "cls_token" in shapes
    registers = shapes["reg_token"][1] if "reg_token" in shapes else 0
    prefix = int(class_token) + registers
    positions = shapes["pos_embed"][1] if "pos_embed" in shapes else 0
    size, prefix_positions = _places(positions, prefix, (patch_size[0], patch_size[1]), metadata)
    stated = metadata.size(size)
    places = [side // pixels for side, pixels in zip(size, patch_size)]
    crop = size != stated and [side // pixels for side, pixels in zip(stated, patch_size)] == places
    pool_norm, pooled = "fc_norm.weight" in shapes, "attn_pool.latent" in shapes
    hidden = shapes["blocks.0.mlp.fc2.weight"][1]
    gated = shapes["blocks.0.mlp.fc1.weight"][0] == 2 * hidden  # DINOv2's giant
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=model_args.get("num_heads") or named_heads(name) or num_heads(embed_dim, depth, metadata),
        mlp_dim=hidden,
        norm_eps=1e-5 if "norm_pre.weight" in shapes else 1e-6,  # CLIP's towers
        qkv_bias="blocks.0.attn.qkv.bias" in shapes,
        layer_scale=1e-5 if "blocks.0.ls1.gamma" in shapes else None,
        activation="swiglu" if gated else model_args.get("act_layer") or activation(name),
    )
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=stated if crop else size,
        patch_size=(patch_size[0], patch_size[1]),
        in_channels=in_channels,
        num_classes=shapes["head.weight"][0] if "head.weight" in shapes else 0,
        positions="learned" if positions else "none",
        class_token=class_token,
        num_registers=registers,
        prefix_positions=prefix_positions,
        pooling="attention" if pooled else "cls" if class_token and not pool_norm else "mean",
        pool_norm=pool_norm,
        pre_logits=shapes["pre_logits.fc.weight"][0] if "pre_logits.fc.weight" in shapes else None,
        input_norm="norm_pre.weight" in shapes,
        crop=crop,
    )


def named_heads(name: str) -> int | None:
    """The number of heads of a timm architecture, where it does not follow from the width."""
    return next((heads for start, heads in HEADS.items() if name.startswith(start)), None)


def activation(name: str) -> Activation:
    """Of a timm architecture by its name."""
    if name.startswith(GELU_TANH):
        return "gelu_tanh"
    return "quick_gelu" if "quickgelu" in name else "gelu"


def _places(
    positions: int, prefix: int, patch_size: tuple[int, int], metadata: CheckpointMetadata
) -> tuple[tuple[int, int], int]:
    """(image size, how many prefix tokens have a position). DeiT III and registers leave them without."""
    if not positions:
        return metadata.image_size or (224, 224), 0
    side = round(positions**0.5)
    size = metadata.image_size
    patches = None if size is None else size[0] // patch_size[0] * (size[1] // patch_size[1])
    if prefix and patches != positions - prefix and (side * side == positions or patches == positions):
        return image_size(positions, patch_size, metadata), 0
    return image_size(positions - prefix, patch_size, metadata), prefix


def rules(config: ViTConfig) -> list[Rule]:
    rules = [rename("patch_embed.proj.weight", "encoder.patch_embed.proj.weight")]
    if config.input_norm:
        rules += rename_both("norm_pre", "encoder.input_norm")
    else:
        rules += [rename("patch_embed.proj.bias", "encoder.patch_embed.proj.bias")]
    rules += [rename("cls_token", "encoder.cls_token")] if config.class_token else []
    rules += [rename("reg_token", "encoder.registers")] if config.num_registers else []
    rules += [rename("pos_embed", "encoder.pos_embed.table")] if config.positions == "learned" else []
    for i in range(config.depth):
        rules += timm_block(f"blocks.{i}", f"encoder.blocks.{i}", config.block)
    rules += rename_both("fc_norm", "fc_norm") if config.pool_norm else rename_both("norm", "encoder.norm")
    rules += timm_pool("attn_pool", "pool") if config.pooling == "attention" else []
    rules += rename_both("pre_logits.fc", "pre_logits.0") if config.pre_logits is not None else []
    rules += rename_both("head", "head") if config.num_classes else []
    return rules


def resampling(config: ViTConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of timm's `resample_abs_pos_embed`; of `interpolate_pos_encoding` for Meta's DINO."""
    return "bicubic-offset" if is_dino(metadata) else "bicubic-antialias"


def is_dino(metadata: CheckpointMetadata) -> bool:
    """Whether a file is Meta's, whose tensors are named as timm's: by the projection head of its training, or where the
    file has the encoder alone by its name."""
    if metadata.config:
        return False
    trained = any(part in name for name in metadata.names for part in PROJECTION_HEAD)
    return trained or bool(re.match(r"(ibot|dino)(v2)?_", metadata.file_name))


def unsupported(config: ViTConfig) -> dict[str, str]:
    """Options whose value timm's ViT does not have, and what it has."""
    return {"pooling": "cls, mean or attention"} if config.pooling in ("cls+mean", "none") else {}


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From timm's `config.json`; for a bare file, what its publisher used for models of that name."""
    stored = from_timm(config.image_size, config.in_channels, metadata)
    small = max(config.image_size) < 384
    if stored is not None:
        return stored
    if is_dino(metadata):
        return plain(config.image_size, config.in_channels, metadata)
    if "deit" in metadata.file_name or "mae" in metadata.file_name:
        return plain(config.image_size, config.in_channels, metadata, crop_pct=0.875 if small else 1.0)
    if config.in_channels == 3:
        if not config.num_classes and config.class_token:
            metadata.notes.append(
                "an encoder alone, in the names of timm and of Meta's DINO and MAE: read as timm's; for Meta's, with "
                "the mean and std of ImageNet, give the file the name it was published under (dino_….pth, mae_….pth)"
            )
        metadata.notes.append(
            "no preprocessing in the same folder: timm's for ViT assumed (mean and std 0.5, crop 0.9)"
        )
    return plain(config.image_size, config.in_channels, metadata, crop_pct=0.9 if small else 1.0, mean=HALF, std=HALF)
