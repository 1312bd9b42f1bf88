"""ConvNeXt as timm writes it."""

from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.convnext import ConvNeXtConfig

NAME = "timm ConvNeXt"
ARCHITECTURE = "convnext"


def matches(names: set[str]) -> bool:
    return {"stem.0.weight", "stages.0.blocks.0.conv_dw.weight", "stages.0.blocks.0.mlp.fc1.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ConvNeXtConfig:
    stages = count_layers(shapes, "stages.{}.blocks.0.conv_dw.weight")
    _, in_channels, patch, _ = shapes["stem.0.weight"]
    return ConvNeXtConfig(
        tuple(count_layers(shapes, f"stages.{stage}.blocks.{{}}.conv_dw.weight") for stage in range(stages)),
        tuple(shapes[f"stages.{stage}.blocks.0.conv_dw.weight"][0] for stage in range(stages)),
        patch_size=patch,
        image_size=metadata.size((224, 224)),
        in_channels=in_channels,
        num_classes=shapes["head.fc.weight"][0] if "head.fc.weight" in shapes else 0,
        layer_scale=1e-6 if "stages.0.blocks.0.gamma" in shapes else None,
    )


def rules(config: ConvNeXtConfig) -> list[Rule]:
    rules = rename_both("head.norm", "norm") + (rename_both("head.fc", "head") if config.num_classes else [])
    for stage, depth in enumerate(config.depths):
        entrance = "stem" if stage == 0 else f"stages.{stage}.downsample"
        for i in range(2):
            rules += rename_both(f"{entrance}.{i}", f"stages.{stage}.entrance.{i}")
        for number in range(depth):
            theirs, ours = f"stages.{stage}.blocks.{number}", f"stages.{stage}.blocks.{number}"
            rules += rename_both(f"{theirs}.conv_dw", f"{ours}.spatial") + rename_both(f"{theirs}.norm", f"{ours}.norm")
            rules += rename_both(f"{theirs}.mlp.fc1", f"{ours}.mlp.fc1")
            rules += rename_both(f"{theirs}.mlp.fc2", f"{ours}.mlp.fc2")
            rules += [rename(f"{theirs}.gamma", f"{ours}.scale.gamma")] if config.layer_scale is not None else []
    return rules


def preprocessing(config: ConvNeXtConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From timm's `config.json`; for a bare file ImageNet's statistics."""
    return from_timm(config.image_size, config.in_channels, metadata) or plain(
        config.image_size, config.in_channels, metadata, crop_pct=0.875 if max(config.image_size) < 384 else 1.0
    )
