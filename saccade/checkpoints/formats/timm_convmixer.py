"""ConvMixer as timm writes it."""

from saccade.checkpoints.blocks import batch_norm
from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.convmixer import ConvMixerConfig

NAME = "timm ConvMixer"
ARCHITECTURE = "convmixer"


def matches(names: set[str]) -> bool:
    return {"stem.0.weight", "stem.2.running_mean", "blocks.0.0.fn.0.weight", "blocks.0.1.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ConvMixerConfig:
    """Everything but the nonlinearity is visible; the published 768/32 has ReLU, the others GELU."""
    width, in_channels, patch, _ = shapes["stem.0.weight"]
    depth = count_layers(shapes, "blocks.{}.1.weight")
    if (width, depth) == (768, 32):
        metadata.notes.append("ReLU assumed, as in the published ConvMixer-768/32")
    return ConvMixerConfig(
        width,
        depth,
        kernel_size=shapes["blocks.0.0.fn.0.weight"][2],
        patch_size=patch,
        image_size=metadata.size((224, 224)),
        in_channels=in_channels,
        num_classes=shapes["head.weight"][0] if "head.weight" in shapes else 0,
        activation="relu" if (width, depth) == (768, 32) else "gelu",
    )


def rules(config: ConvMixerConfig) -> list[Rule]:
    rules = rename_both("stem.0", "stem.0") + batch_norm("stem.2", "stem.2")
    for i in range(config.depth):
        theirs, ours = f"blocks.{i}", f"blocks.{i}"
        rules += rename_both(f"{theirs}.0.fn.0", f"{ours}.spatial.0")
        rules += batch_norm(f"{theirs}.0.fn.2", f"{ours}.spatial.2")
        rules += rename_both(f"{theirs}.1", f"{ours}.mix.0") + batch_norm(f"{theirs}.3", f"{ours}.mix.2")
    return rules + (rename_both("head", "head") if config.num_classes else [])


def preprocessing(config: ConvMixerConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From timm's `config.json`; for a bare file ImageNet's statistics, crop 0.96."""
    return from_timm(config.image_size, config.in_channels, metadata) or plain(
        config.image_size, config.in_channels, metadata, crop_pct=0.96
    )
