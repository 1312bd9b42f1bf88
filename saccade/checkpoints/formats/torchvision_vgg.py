"""VGG as torchvision writes it, with or without batch norm: layers by their place among ReLUs and poolings."""

from saccade.checkpoints.blocks import batch_norm
from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError
from saccade.models.vgg import DEPTHS, VGGConfig

NAME = "torchvision VGG"
ARCHITECTURE = "vgg"


def matches(names: set[str]) -> bool:
    heads = {"classifier.0.weight", "classifier.3.weight", "classifier.6.weight"}
    return {"features.0.weight", *heads} <= names and "conv1.weight" not in names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> VGGConfig:
    """Depth and norms from which places hold what."""
    convs = [name for name, shape in shapes.items() if name.startswith("features.") and len(shape) == 4]
    depths = next((d for d in DEPTHS.values() if sum(d) == len(convs)), None)
    if depths is None:
        raise CheckpointError(f"a VGG has 8, 10, 13 or 16 convolutions, the file has {len(convs)}")
    return VGGConfig(
        depths,
        batch_norm="features.1.running_mean" in shapes,
        image_size=metadata.size((224, 224)),
        in_channels=shapes["features.0.weight"][1],
        num_classes=shapes["classifier.6.weight"][0],
    )


def rules(config: VGGConfig) -> list[Rule]:
    rules = convolutions(config) + rename_both("classifier.0", "fc1") + rename_both("classifier.3", "fc2")
    return rules + (rename_both("classifier.6", "head") if config.num_classes else [])


def convolutions(config: VGGConfig) -> list[Rule]:
    """The rules of all but the linear layers."""
    rules, place = [], 0
    for stage, depth in enumerate(config.depths):
        for layer in range(depth):
            ours = f"stages.{stage}.{layer}"
            rules += rename_both(f"features.{place}", f"{ours}.0")
            if config.batch_norm:
                rules += batch_norm(f"features.{place + 1}", f"{ours}.1")
            place += 3 if config.batch_norm else 2
        place += 1  # the pooling
    return rules


def preprocessing(config: VGGConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """ImageNet's statistics, the middle of 256 pixels."""
    return plain(config.image_size, config.in_channels, metadata, interpolation="bilinear")
