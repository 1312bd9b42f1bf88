"""ResNet as Hugging Face writes it."""

from typing import Any

from torch import Tensor

from saccade.checkpoints.blocks import conv_norm, prefixed
from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_huggingface, target_size
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError
from saccade.models.resnet import ResNetConfig

NAME = "Hugging Face ResNet"
ARCHITECTURE = "resnet"

ROOT = "resnet.embedder.embedder"
BLOCK = "resnet.encoder.stages.{}.layers.{}"


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return prefixed(tensors, "resnet", ("embedder.", "encoder."))


def matches(names: set[str]) -> bool:
    return {f"{ROOT}.convolution.weight", f"{BLOCK.format(0, 0)}.layer.0.convolution.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ResNetConfig:
    if metadata.config.get("downsample_in_bottleneck") or metadata.config.get("downsample_in_first_stage"):
        raise CheckpointError("a ResNet with strides in other layers than torchvision's is not supported")
    bottleneck = f"{BLOCK.format(0, 0)}.layer.2.convolution.weight" in shapes
    width = shapes[f"{ROOT}.convolution.weight"][0]
    stages = count_layers(shapes, BLOCK.format("{}", 0) + ".layer.0.convolution.weight")
    first = BLOCK.format("{}", "{{}}") + ".layer.0.convolution.weight"
    return ResNetConfig(
        "bottleneck" if bottleneck else "basic",
        tuple(count_layers(shapes, first.format(stage)) for stage in range(stages)),
        width_factor=shapes[f"{BLOCK.format(0, 0)}.layer.0.convolution.weight"][0] / width if bottleneck else 1,
        image_size=target_size(metadata.processor, metadata.size((224, 224)))[0],
        in_channels=shapes[f"{ROOT}.convolution.weight"][1],
        num_classes=shapes["classifier.1.weight"][0] if "classifier.1.weight" in shapes else 0,
        width=width,
    )


def rules(config: ResNetConfig) -> list[Rule]:
    rules = conv_norm(f"{ROOT}.convolution", f"{ROOT}.normalization", "stem")
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            theirs, ours = BLOCK.format(stage, number), f"stages.{stage}.{number}"
            for i in range(2 if config.block == "basic" else 3):
                layer = f"{theirs}.layer.{i}"
                rules += conv_norm(f"{layer}.convolution", f"{layer}.normalization", f"{ours}.conv{i + 1}")
            if number == 0 and (stage > 0 or config.expansion > 1):
                layer = f"{theirs}.shortcut"
                rules += conv_norm(f"{layer}.convolution", f"{layer}.normalization", f"{ours}.shortcut")
    return rules + (rename_both("classifier.1", "head") if config.num_classes else [])


def describe(config: ResNetConfig) -> dict[str, Any]:
    """The `config.json` of the same network, without its labels."""
    if config.width_factor != 1:
        raise CheckpointError("Hugging Face's ResNet has no wide bottlenecks")
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "layer_type": config.block,
        "depths": list(config.depths),
        "embedding_size": config.width,
        "hidden_sizes": [width * config.expansion for width in config.widths],
        "hidden_act": "relu",
        "num_channels": config.in_channels,
    }


def preprocessing(config: ResNetConfig, metadata: CheckpointMetadata) -> Preprocessing:
    return from_huggingface(config.image_size, config.in_channels, metadata)
