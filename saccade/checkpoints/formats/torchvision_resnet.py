"""ResNet and Wide ResNet as torchvision writes them; timm's plain ResNets have the same names."""

from typing import Any

from saccade.checkpoints.hints import Hints, Shapes, count_layers
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from saccade.models.resnet import ResNetConfig

NAME = "torchvision ResNet"
ARCHITECTURE = "resnet"

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def matches(names: set[str]) -> bool:
    return {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.conv1.weight"} <= names


def infer(shapes: Shapes, hints: Hints) -> ResNetConfig:
    """Everything is visible: blocks by their convolutions, width by the middle of the first."""
    bottleneck = "layer1.0.conv3.weight" in shapes
    depths = tuple(count_layers(shapes, f"layer{stage}.{{}}.conv1.weight") for stage in (1, 2, 3, 4))
    return ResNetConfig(
        "bottleneck" if bottleneck else "basic",
        depths,
        width_factor=shapes["layer1.0.conv1.weight"][0] // 64 if bottleneck else 1,
        image_size=hints.image_size or (224, 224),
        in_channels=shapes["conv1.weight"][1],
        num_classes=shapes["fc.weight"][0] if "fc.weight" in shapes else 0,
    )


def rules(config: ResNetConfig) -> list[Rule]:
    found = _pair("conv1", "bn1", "stem")
    channels = 64
    for stage, depth in enumerate(config.depths):
        width = 64 * 2**stage * config.expansion
        for number in range(depth):
            theirs, ours = f"layer{stage + 1}.{number}", f"stages.{stage}.{number}"
            for i in range(1, 3 if config.block == "basic" else 4):
                found += _pair(f"{theirs}.conv{i}", f"{theirs}.bn{i}", f"{ours}.conv{i}")
            if number == 0 and (stage > 0 or channels != width):
                found += _pair(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut")
        channels = width
    return found + (rename_both("fc", "head") if config.num_classes else [])


def preprocessing(config: ResNetConfig, hints: Hints) -> Preprocessing:
    """What a `config.json` of timm says beside it; else ImageNet's statistics, the middle of 256 pixels."""
    told: dict[str, Any] = hints.config.get("pretrained_cfg") or {}
    return Preprocessing(
        config.image_size,
        crop_pct=told.get("crop_pct", 0.875),
        interpolation=told.get("interpolation", "bilinear"),
        mean=tuple(told.get("mean", IMAGENET_MEAN)),
        std=tuple(told.get("std", IMAGENET_STD)),
    )


def _pair(conv: str, norm: str, ours: str) -> list[Rule]:
    """A convolution and its norm, which are one part here."""
    found = [rename(f"{conv}.weight", f"{ours}.0.weight")]
    return found + [rename(f"{norm}.{part}", f"{ours}.1.{part}") for part in NORM]
