"""BiT ResNets as Hugging Face writes them."""

from typing import Any

from torch import Tensor

from saccade.checkpoints.blocks import prefixed
from saccade.checkpoints.formats.timm_bit import unit
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_huggingface, target_size
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError
from saccade.models.bit import BiTConfig

NAME = "Hugging Face BiT"
ARCHITECTURE = "bit"

BLOCK = "bit.encoder.stages.{}.layers.{}"
# What the JSON may say otherwise, and what is built here.
ONLY = {"layer_type": "preactivation", "global_padding": None, "embedding_dynamic_padding": False, "num_groups": 32}


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return prefixed(tensors, "bit", ("embedder.", "encoder.", "norm."))


def matches(names: set[str]) -> bool:
    return {"bit.embedder.convolution.weight", f"{BLOCK.format(0, 0)}.conv3.weight", "bit.norm.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> BiTConfig:
    for name, value in ONLY.items():
        if metadata.config.get(name, value) != value:
            raise CheckpointError(f"a BiT with {name}={metadata.config[name]!r} is not supported, only {value!r}")
    width, in_channels = shapes["bit.embedder.convolution.weight"][:2]
    stages = count_layers(shapes, BLOCK.format("{}", 0) + ".conv3.weight")
    first = BLOCK.format("{}", "{{}}") + ".conv3.weight"
    return BiTConfig(
        tuple(count_layers(shapes, first.format(stage)) for stage in range(stages)),
        width_factor=width // 64,
        image_size=target_size(metadata.processor, metadata.size((224, 224)))[0],
        in_channels=in_channels,
        num_classes=shapes["classifier.1.weight"][0] if "classifier.1.weight" in shapes else 0,
    )


def rules(config: BiTConfig) -> list[Rule]:
    rules = [rename("bit.embedder.convolution.weight", "root.weight"), *rename_both("bit.norm", "norm")]
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            rules += unit(BLOCK.format(stage, number), f"stages.{stage}.{number}", number == 0)
    return rules + (rename_both("classifier.1", "head") if config.num_classes else [])


def describe(config: BiTConfig) -> dict[str, Any]:
    """The `config.json` of the same network, without its labels."""
    return {
        "architectures": ["BitForImageClassification"],
        "model_type": "bit",
        **ONLY,
        "depths": list(config.depths),
        "embedding_size": 64 * config.width_factor,
        "hidden_sizes": [256 * 2**stage for stage in range(len(config.depths))],
        "width_factor": config.width_factor,
        "num_channels": config.in_channels,
        "hidden_act": "relu",
    }


def preprocessing(config: BiTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    return from_huggingface(config.image_size, config.in_channels, metadata)
