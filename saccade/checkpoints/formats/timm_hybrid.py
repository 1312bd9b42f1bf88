"""Hybrid ViTs (a ResNet in front) as timm writes them."""

from saccade.checkpoints.blocks import group_norm_pair, stem, stem_config, timm_block
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size, num_heads
from saccade.checkpoints.processors import HALF, from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.hybrid import HybridConfig
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "timm hybrid ViT"
ARCHITECTURE = "hybrid"

BACKBONE = "patch_embed.backbone"
UNIT = BACKBONE + ".stages.{stage}.blocks.{number}."


def root_of(has_stages: bool) -> str:
    """Where the first convolution is: a stem without stages is not nested."""
    return f"{BACKBONE}.stem" if has_stages else BACKBONE


def matches(names: set[str]) -> bool:
    roots = {f"{root_of(True)}.norm.weight", f"{root_of(False)}.norm.weight"}
    return bool(roots & names) and {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> HybridConfig:
    """The config: the shapes show all of it but the number of heads."""
    embed_dim, _, *patch_size = shapes["patch_embed.proj.weight"]
    root = shapes[root_of(f"{root_of(True)}.conv.weight" in shapes) + ".conv.weight"]
    depth = count_layers(shapes, "blocks.{}.norm1.weight")
    resnet = stem_config(set(shapes), root[0], UNIT + "conv1.weight", norm_eps=1e-5, conv_eps=1e-8)
    pixels = (patch_size[0] * resnet.stride, patch_size[1] * resnet.stride)
    model_args = metadata.config.get("model_args") or {}
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=model_args.get("num_heads") or num_heads(embed_dim, depth, metadata),
        mlp_dim=shapes["blocks.0.mlp.fc1.weight"][0],
        qkv_bias="blocks.0.attn.qkv.bias" in shapes,
    )
    return HybridConfig(
        block=block,
        depth=depth,
        stem=resnet,
        image_size=image_size(shapes["pos_embed"][1] - 1, pixels, metadata),
        patch_size=(patch_size[0], patch_size[1]),
        in_channels=root[1],
        num_classes=shapes["head.weight"][0] if "head.weight" in shapes else 0,
        pre_logits=shapes["pre_logits.fc.weight"][0] if "pre_logits.fc.weight" in shapes else None,
    )


def rules(config: HybridConfig) -> list[Rule]:
    root = root_of(bool(config.stem.depths))
    rules = stem(
        config.stem, (f"{root}.conv", f"{root}.norm"), UNIT, ("downsample.conv", "downsample.norm"), group_norm_pair
    )
    rules += [rename("cls_token", "vit.encoder.cls_token"), rename("pos_embed", "vit.encoder.pos_embed.table")]
    rules += rename_both("patch_embed.proj", "vit.encoder.patch_embed.proj")
    for i in range(config.depth):
        rules += timm_block(f"blocks.{i}", f"vit.encoder.blocks.{i}", config.block)
    rules += rename_both("norm", "vit.encoder.norm")
    rules += rename_both("pre_logits.fc", "vit.pre_logits.0") if config.pre_logits is not None else []
    return rules + (rename_both("head", "vit.head") if config.num_classes else [])


def resampling(config: HybridConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of timm's `resample_abs_pos_embed`."""
    return "bicubic-antialias"


def preprocessing(config: HybridConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From timm's `config.json`; for a bare file what its ViTs were evaluated with."""
    crop = 0.9 if max(config.image_size) < 384 else 1.0
    return from_timm(config.image_size, config.in_channels, metadata) or plain(
        config.image_size, config.in_channels, metadata, crop_pct=crop, mean=HALF, std=HALF
    )
