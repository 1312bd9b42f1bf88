"""DeiT with its two heads as Hugging Face writes it (`DeiTForImageClassificationWithTeacher`)."""

from typing import Any

from saccade.checkpoints.blocks import huggingface_layer
from saccade.checkpoints.formats import huggingface_vit
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_huggingface
from saccade.data.preprocessing import Preprocessing
from saccade.models.deit import DeiTConfig
from saccade.nn.positions import Resampling

NAME = "Hugging Face DeiT"
ARCHITECTURE = "deit"


def matches(names: set[str]) -> bool:
    return {"cls_classifier.weight", "distillation_classifier.weight", "deit.embeddings.distillation_token"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> DeiTConfig:
    _, in_channels, *patch_size = shapes["deit.embeddings.patch_embeddings.projection.weight"]
    depth = count_layers(shapes, "deit.encoder.layer.{}.layernorm_before.weight")
    patch = (patch_size[0], patch_size[1])
    return DeiTConfig(
        block=huggingface_vit.block_config(shapes, "deit.encoder.layer.0", depth, metadata),
        depth=depth,
        image_size=huggingface_vit.image_size_of(shapes["deit.embeddings.position_embeddings"][1] - 2, patch, metadata),
        patch_size=patch,
        in_channels=in_channels,
        num_classes=shapes["cls_classifier.weight"][0],
    )


def rules(config: DeiTConfig) -> list[Rule]:
    rules = huggingface_vit.embeddings("deit", "encoder")
    rules += [rename("deit.embeddings.distillation_token", "encoder.registers")]
    for i in range(config.depth):
        rules += huggingface_layer(f"deit.encoder.layer.{i}", f"encoder.blocks.{i}", config.block)
    rules += rename_both("deit.layernorm", "encoder.norm")
    return rules + rename_both("cls_classifier", "head") + rename_both("distillation_classifier", "head_dist")


def describe(config: DeiTConfig) -> dict[str, Any]:
    """The `config.json` of the same network, without its labels."""
    kind = {"architectures": ["DeiTForImageClassificationWithTeacher"], "model_type": "deit"}
    return {**kind, **huggingface_vit.describe_vit(config.vit)}


def resampling(config: DeiTConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of the library's `interpolate_pos_encoding`."""
    return "bicubic"


def preprocessing(config: DeiTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    return from_huggingface(config.image_size, config.in_channels, metadata)
