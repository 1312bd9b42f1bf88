"""ResNet and Wide ResNet as torchvision writes them; timm's plain ResNets have the same names.

ResNets for CIFAR of kuangliu, chenyaofo and akamaster are the same networks with a stem for small images, of four or
three stages; some call the head `linear` and the projections `shortcut`, or have none (option A of the paper).
"""

import re

from torch import Tensor

from saccade.checkpoints.blocks import conv_norm
from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.resnet import ResNetConfig

NAME = "torchvision ResNet"
ARCHITECTURE = "resnet"

SHORTCUT = re.compile(r"^(layer\d+\.\d+)\.shortcut\.")
# Mean and std of the training images of CIFAR-10 and CIFAR-100, by the number of classes; as chenyaofo and kuangliu.
CIFAR = {
    10: ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    100: ((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)),
}


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of torchvision for those of the repositories for CIFAR."""
    if "conv1.weight" not in tensors or "layer1.0.conv1.weight" not in tensors:
        return tensors
    renamed = {SHORTCUT.sub(r"\1.downsample.", name): tensor for name, tensor in tensors.items()}
    return {re.sub(r"^linear\.", "fc.", name): tensor for name, tensor in renamed.items()}


def matches(names: set[str]) -> bool:
    return {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer3.0.conv1.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ResNetConfig:
    """Everything is visible: stages, blocks by their convolutions, width by the middle of the first."""
    bottleneck = "layer1.0.conv3.weight" in shapes
    width, in_channels, kernel_size, _ = shapes["conv1.weight"]
    small_images = kernel_size == 3
    stages = 4 if "layer4.0.conv1.weight" in shapes else 3
    depths = tuple(count_layers(shapes, f"layer{stage + 1}.{{}}.conv1.weight") for stage in range(stages))
    projects = "layer2.0.downsample.0.weight" in shapes
    return ResNetConfig(
        "bottleneck" if bottleneck else "basic",
        depths,
        width_factor=shapes["layer1.0.conv1.weight"][0] / width if bottleneck else 1,
        image_size=metadata.size((32, 32) if small_images else (224, 224)),
        in_channels=in_channels,
        num_classes=shapes["fc.weight"][0] if "fc.weight" in shapes else 0,
        width=width,
        small_images=small_images,
        shortcut="projection" if projects or bottleneck else "padding",
    )


def rules(config: ResNetConfig) -> list[Rule]:
    rules = conv_norm("conv1", "bn1", "stem")
    channels = config.width
    for stage, depth in enumerate(config.depths):
        width = config.widths[stage] * config.expansion
        projects = (stage > 0 or channels != width) and config.shortcut == "projection"
        for number in range(depth):
            theirs, ours = f"layer{stage + 1}.{number}", f"stages.{stage}.{number}"
            for i in range(1, 3 if config.block == "basic" else 4):
                rules += conv_norm(f"{theirs}.conv{i}", f"{theirs}.bn{i}", f"{ours}.conv{i}")
            if number == 0 and projects:
                rules += conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut")
        channels = width
    return rules + (rename_both("fc", "head") if config.num_classes else [])


def unsupported(config: ResNetConfig) -> dict[str, str]:
    """Options whose value neither torchvision nor timm has, and what they have."""
    lacking = {"small_images": "False"} if config.small_images else {}
    if len(config.depths) != 4:
        lacking["depths"] = "four stages"
    return lacking | ({"shortcut": "projection"} if config.shortcut != "projection" else {})


def preprocessing(config: ResNetConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From timm's `config.json` next to it; otherwise the centre of 256 pixels with ImageNet's statistics, or whole
    images of 32 pixels with those of CIFAR."""
    described = from_timm(config.image_size, config.in_channels, metadata)
    if described is not None:
        return described
    if not config.small_images:
        return plain(config.image_size, config.in_channels, metadata, interpolation="bilinear")
    size, channels, statistics = config.image_size, config.in_channels, CIFAR.get(config.num_classes)
    if statistics is None or channels != 3 or config.shortcut == "padding":  # akamaster's are trained with ImageNet's
        metadata.notes.append("a ResNet for small images: mean and std of ImageNet assumed")
        return plain(size, channels, metadata, crop_pct=1.0, interpolation="bilinear")
    metadata.notes.append(f"a ResNet for small images: mean and std of CIFAR-{config.num_classes} assumed")
    mean, std = statistics
    return plain(size, channels, metadata, crop_pct=1.0, interpolation="bilinear", mean=mean, std=std)
