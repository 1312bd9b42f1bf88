"""ViT and DeiT as timm and Meta's DeiT write them. Our names are theirs, but for the parts that we nest."""

from torch import Tensor

from saccade.checkpoints.blocks import timm_block
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size, num_heads
from saccade.checkpoints.processors import HALF, from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.transformer import BlockConfig

NAME = "timm ViT"
ARCHITECTURE = "vit"
RESAMPLING = "bicubic-antialias"


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the token of DINOv2's masked training, which has no use afterwards."""
    return {name: tensor for name, tensor in tensors.items() if name != "mask_token"}


def matches(names: set[str]) -> bool:
    return {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.norm1.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    """The config: the shapes show all of it but the number of heads."""
    embed_dim, in_channels, *patch_size = shapes["patch_embed.proj.weight"]
    depth = count_layers(shapes, "blocks.{}.norm1.weight")
    told = metadata.config.get("model_args") or {}
    name = f"{metadata.file_name} {metadata.config.get('architecture', '')}"
    class_token = "cls_token" in shapes
    registers = shapes["reg_token"][1] if "reg_token" in shapes else 0
    prefix = int(class_token) + registers
    positions = shapes["pos_embed"][1] if "pos_embed" in shapes else 0
    size, prefix_positions = _places(positions, prefix, (patch_size[0], patch_size[1]), metadata)
    pool_norm = "fc_norm.weight" in shapes
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=told.get("num_heads") or num_heads(embed_dim, depth, metadata),
        mlp_dim=shapes["blocks.0.mlp.fc1.weight"][0],
        norm_eps=1e-5 if "norm_pre.weight" in shapes else 1e-6,  # CLIP's towers
        qkv_bias="blocks.0.attn.qkv.bias" in shapes,
        layer_scale=1e-5 if "blocks.0.ls1.gamma" in shapes else None,
        activation="quick_gelu" if "quickgelu" in name else "gelu",
    )
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=size,
        patch_size=(patch_size[0], patch_size[1]),
        in_channels=in_channels,
        num_classes=shapes["head.weight"][0] if "head.weight" in shapes else 0,
        positions="learned" if positions else "none",
        class_token=class_token,
        num_registers=registers,
        prefix_positions=prefix_positions,
        pooling="cls" if class_token and not pool_norm else "mean",
        pool_norm=pool_norm,
        pre_logits=shapes["pre_logits.fc.weight"][0] if "pre_logits.fc.weight" in shapes else None,
        input_norm="norm_pre.weight" in shapes,
    )


def _places(
    positions: int, prefix: int, patch_size: tuple[int, int], metadata: CheckpointMetadata
) -> tuple[tuple[int, int], int]:
    """(image size, how many prefix tokens have a position). DeiT III and registers leave them without."""
    if not positions:
        return metadata.image_size or (224, 224), 0
    side = round(positions**0.5)
    wanted = metadata.image_size
    fits_bare = wanted and wanted[0] // patch_size[0] * (wanted[1] // patch_size[1]) == positions
    if prefix and (side * side == positions or fits_bare):
        return image_size(positions, patch_size, metadata), 0
    return image_size(positions - prefix, patch_size, metadata), prefix


def rules(config: ViTConfig) -> list[Rule]:
    found = [rename("patch_embed.proj.weight", "encoder.patch_embed.proj.weight")]
    if config.input_norm:
        found += rename_both("norm_pre", "encoder.input_norm")
    else:
        found += [rename("patch_embed.proj.bias", "encoder.patch_embed.proj.bias")]
    found += [rename("cls_token", "encoder.cls_token")] if config.class_token else []
    found += [rename("reg_token", "encoder.registers")] if config.num_registers else []
    found += [rename("pos_embed", "encoder.pos_embed.table")] if config.positions == "learned" else []
    for i in range(config.depth):
        found += timm_block(f"blocks.{i}", f"encoder.blocks.{i}", config.block)
    found += rename_both("fc_norm", "fc_norm") if config.pool_norm else rename_both("norm", "encoder.norm")
    found += rename_both("pre_logits.fc", "pre_logits.0") if config.pre_logits is not None else []
    found += rename_both("head", "head") if config.num_classes else []
    return found


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """What timm's `config.json` says; for a bare file, what its publisher used by its name."""
    told = from_timm(config.image_size, config.in_channels, metadata)
    small = max(config.image_size) < 384
    if told is not None:
        return told
    if "deit" in metadata.file_name or "mae" in metadata.file_name:
        return plain(config.image_size, config.in_channels, metadata, crop_pct=0.875 if small else 1.0)
    if config.in_channels == 3:
        metadata.notes.append("no preprocessing beside the file: timm's for ViT assumed (mean and std 0.5, crop 0.9)")
    return plain(config.image_size, config.in_channels, metadata, crop_pct=0.9 if small else 1.0, mean=HALF, std=HALF)
