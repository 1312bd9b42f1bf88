"""AlexNet as torchvision writes it."""

from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.alexnet import LAYERS, AlexNetConfig

NAME = "torchvision AlexNet"
ARCHITECTURE = "alexnet"

PLACES = (0, 3, 6, 8, 10)  # of the convolutions among ReLUs and poolings


def matches(names: set[str]) -> bool:
    return {"features.10.weight", "classifier.1.weight", "classifier.4.weight", "classifier.6.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> AlexNetConfig:
    size = metadata.size((224, 224))
    in_channels = shapes["features.0.weight"][1]
    return AlexNetConfig(size, in_channels, num_classes=shapes["classifier.6.weight"][0])


def rules(config: AlexNetConfig) -> list[Rule]:
    rules = [rule for i in range(len(LAYERS)) for rule in rename_both(f"features.{PLACES[i]}", f"convs.{i}")]
    rules += rename_both("classifier.1", "fc1") + rename_both("classifier.4", "fc2")
    return rules + (rename_both("classifier.6", "head") if config.num_classes else [])


def preprocessing(config: AlexNetConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """ImageNet's statistics, the middle of 256 pixels."""
    return plain(config.image_size, config.in_channels, metadata, interpolation="bilinear")
