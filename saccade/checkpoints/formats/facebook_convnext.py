"""ConvNeXt as Meta writes it: the first models, and those of DINOv3, which have no head."""

from torch import Tensor

from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.convnext import ConvNeXtConfig

NAME = "Meta ConvNeXt"
ARCHITECTURE = "convnext"
PARTS = {"dwconv": "spatial", "norm": "norm", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2"}


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the last norm's second name in DINOv3's files."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("norms.3.")}


def matches(names: set[str]) -> bool:
    return {"downsample_layers.0.0.weight", "stages.0.0.dwconv.weight", "norm.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ConvNeXtConfig:
    stages = count_layers(shapes, "stages.{}.0.dwconv.weight")
    _, in_channels, patch, _ = shapes["downsample_layers.0.0.weight"]
    return ConvNeXtConfig(
        tuple(count_layers(shapes, f"stages.{stage}.{{}}.dwconv.weight") for stage in range(stages)),
        tuple(shapes[f"stages.{stage}.0.dwconv.weight"][0] for stage in range(stages)),
        patch_size=patch,
        image_size=metadata.size((224, 224)),
        in_channels=in_channels,
        num_classes=shapes["head.weight"][0] if "head.weight" in shapes else 0,
        layer_scale=1e-6 if "stages.0.0.gamma" in shapes else None,
    )


def rules(config: ConvNeXtConfig) -> list[Rule]:
    rules = rename_both("norm", "norm") + (rename_both("head", "head") if config.num_classes else [])
    for stage, depth in enumerate(config.depths):
        for i in range(2):
            rules += rename_both(f"downsample_layers.{stage}.{i}", f"stages.{stage}.entrance.{i}")
        for number in range(depth):
            theirs, ours = f"stages.{stage}.{number}", f"stages.{stage}.blocks.{number}"
            for name, part in PARTS.items():
                rules += rename_both(f"{theirs}.{name}", f"{ours}.{part}")
            rules += [rename(f"{theirs}.gamma", f"{ours}.scale.gamma")] if config.layer_scale is not None else []
    return rules


def preprocessing(config: ConvNeXtConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """ImageNet's statistics; the middle of the image for a classifier, the whole image for DINOv3's encoder."""
    size, channels = config.image_size, config.in_channels
    if config.num_classes:
        return plain(size, channels, metadata, crop_pct=0.875 if max(size) < 384 else 1.0)
    return plain(size, channels, metadata, resize="exact", crop_pct=1.0, interpolation="bilinear")
