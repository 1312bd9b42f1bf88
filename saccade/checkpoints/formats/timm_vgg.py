"""VGG as timm writes it: torchvision's convolutions, and the linear layers as convolutions."""

from saccade.checkpoints.formats import torchvision_vgg
from saccade.checkpoints.mapping import Reshape, Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.checkpoints.processors import from_timm
from saccade.data.preprocessing import Preprocessing
from saccade.models.vgg import VGGConfig

NAME = "timm VGG"
ARCHITECTURE = "vgg"


def matches(names: set[str]) -> bool:
    return {"features.0.weight", "pre_logits.fc1.weight", "pre_logits.fc2.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> VGGConfig:
    """As torchvision's, and no head at all where there is none."""
    head = shapes.get("head.fc.weight", (0, 4096))
    return torchvision_vgg.infer({**shapes, "classifier.6.weight": head}, metadata)


def rules(config: VGGConfig) -> list[Rule]:
    rules = torchvision_vgg.convolutions(config)
    kernel = Reshape((4096, 512, 7, 7), (4096, 512 * 7 * 7)), Reshape((4096, 4096, 1, 1), (4096, 4096))
    for i in (1, 2):
        rules += [rename(f"pre_logits.fc{i}.weight", f"fc{i}.weight", kernel[i - 1])]
        rules += [rename(f"pre_logits.fc{i}.bias", f"fc{i}.bias")]
    return rules + (rename_both("head.fc", "head") if config.num_classes else [])


def preprocessing(config: VGGConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From timm's `config.json`; for a bare file as torchvision's."""
    return from_timm(config.image_size, config.in_channels, metadata) or torchvision_vgg.preprocessing(config, metadata)
