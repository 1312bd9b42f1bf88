"""ViT as torchvision writes it."""

from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size, num_heads
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "torchvision ViT"
ARCHITECTURE = "vit"

LAYER = "encoder.layers.encoder_layer_{}"


def matches(names: set[str]) -> bool:
    return {"conv_proj.weight", "encoder.pos_embedding", LAYER.format(0) + ".self_attention.in_proj_weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    embed_dim, in_channels, *patch_size = shapes["conv_proj.weight"]
    depth = count_layers(shapes, LAYER + ".ln_1.weight")
    patch = (patch_size[0], patch_size[1])
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=num_heads(embed_dim, depth, metadata),
        mlp_dim=shapes[LAYER.format(0) + ".mlp.0.weight"][0],
        norm_eps=1e-6,
    )
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=image_size(shapes["encoder.pos_embedding"][1] - 1, patch, metadata),
        patch_size=patch,
        in_channels=in_channels,
        num_classes=shapes["heads.head.weight"][0] if "heads.head.weight" in shapes else 0,
        pre_logits=shapes["heads.pre_logits.weight"][0] if "heads.pre_logits.weight" in shapes else None,
    )


def rules(config: ViTConfig) -> list[Rule]:
    rules = [
        rename("class_token", "encoder.cls_token"),
        rename("encoder.pos_embedding", "encoder.pos_embed.table"),
        *rename_both("conv_proj", "encoder.patch_embed.proj"),
    ]
    for i in range(config.depth):
        theirs, ours = LAYER.format(i), f"encoder.blocks.{i}"
        rules += rename_both(f"{theirs}.ln_1", f"{ours}.norm1")
        for part in ("weight", "bias"):
            rules += [rename(f"{theirs}.self_attention.in_proj_{part}", f"{ours}.attn.qkv.{part}")]
        rules += rename_both(f"{theirs}.self_attention.out_proj", f"{ours}.attn.proj")
        rules += rename_both(f"{theirs}.ln_2", f"{ours}.norm2")
        rules += rename_both(f"{theirs}.mlp.0", f"{ours}.mlp.fc1") + rename_both(f"{theirs}.mlp.3", f"{ours}.mlp.fc2")
    rules += rename_both("encoder.ln", "encoder.norm")
    rules += rename_both("heads.pre_logits", "pre_logits.0") if config.pre_logits is not None else []
    rules += rename_both("heads.head", "head") if config.num_classes else []
    return rules


def resampling(config: ViTConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of torchvision's `interpolate_embeddings`."""
    return "bicubic-corners"


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """ImageNet's statistics; the weights at 224 were evaluated on a crop of 256, larger ones uncropped and bicubic."""
    if max(config.image_size) > 256:
        return plain(config.image_size, config.in_channels, metadata, crop_pct=1.0)
    return plain(config.image_size, config.in_channels, metadata, interpolation="bilinear")
