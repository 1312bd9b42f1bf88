"""ResNet and Wide ResNet as torchvision writes them; timm's plain ResNets have the same names."""

from saccade.checkpoints.blocks import conv_norm
from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.resnet import ResNetConfig

NAME = "torchvision ResNet"
ARCHITECTURE = "resnet"


def matches(names: set[str]) -> bool:
    return {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.conv1.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ResNetConfig:
    """Everything is visible: blocks by their convolutions, width by the middle of the first."""
    bottleneck = "layer1.0.conv3.weight" in shapes
    width, in_channels, kernel_size, _ = shapes["conv1.weight"]
    small_images = kernel_size == 3
    depths = tuple(count_layers(shapes, f"layer{stage}.{{}}.conv1.weight") for stage in (1, 2, 3, 4))
    return ResNetConfig(
        "bottleneck" if bottleneck else "basic",
        depths,
        width_factor=shapes["layer1.0.conv1.weight"][0] / width if bottleneck else 1,
        image_size=metadata.size((32, 32) if small_images else (224, 224)),
        in_channels=in_channels,
        num_classes=shapes["fc.weight"][0] if "fc.weight" in shapes else 0,
        width=width,
        small_images=small_images,
    )


def rules(config: ResNetConfig) -> list[Rule]:
    rules = conv_norm("conv1", "bn1", "stem")
    channels = config.width
    for stage, depth in enumerate(config.depths):
        width = config.widths[stage] * config.expansion
        for number in range(depth):
            theirs, ours = f"layer{stage + 1}.{number}", f"stages.{stage}.{number}"
            for i in range(1, 3 if config.block == "basic" else 4):
                rules += conv_norm(f"{theirs}.conv{i}", f"{theirs}.bn{i}", f"{ours}.conv{i}")
            if number == 0 and (stage > 0 or channels != width):
                rules += conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut")
        channels = width
    return rules + (rename_both("fc", "head") if config.num_classes else [])


def preprocessing(config: ResNetConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """What a `config.json` of timm says beside it; else ImageNet's statistics, the middle of 256 pixels."""
    return from_timm(config.image_size, config.in_channels, metadata) or plain(
        config.image_size, config.in_channels, metadata, interpolation="bilinear"
    )
