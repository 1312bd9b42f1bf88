"""ConvNeXt as Hugging Face writes it. Its last norm has another eps than the norms of the blocks."""

from typing import Any

from torch import Tensor

from saccade.checkpoints.blocks import prefixed
from saccade.checkpoints.formats import huggingface_vit
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_huggingface, target_size
from saccade.data.preprocessing import Preprocessing
from saccade.models.convnext import ConvNeXtConfig

NAME = "Hugging Face ConvNeXt"
ARCHITECTURE = "convnext"

BLOCK = "convnext.encoder.stages.{}.layers.{}"


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return prefixed(tensors, "convnext", ("embeddings.", "encoder.", "layernorm."))


def matches(names: set[str]) -> bool:
    return {"convnext.embeddings.patch_embeddings.weight", f"{BLOCK.format(0, 0)}.dwconv.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ConvNeXtConfig:
    config_json = metadata.config
    stages = count_layers(shapes, BLOCK.format("{}", 0) + ".dwconv.weight")
    _, in_channels, patch, _ = shapes["convnext.embeddings.patch_embeddings.weight"]
    first = BLOCK.format("{}", "{{}}") + ".dwconv.weight"
    return ConvNeXtConfig(
        tuple(count_layers(shapes, first.format(stage)) for stage in range(stages)),
        tuple(shapes[BLOCK.format(stage, 0) + ".dwconv.weight"][0] for stage in range(stages)),
        patch_size=patch,
        image_size=target_size(metadata.processor, metadata.size((224, 224)))[0],
        in_channels=in_channels,
        num_classes=shapes["classifier.weight"][0] if "classifier.weight" in shapes else 0,
        last_norm_eps=config_json.get("layer_norm_eps", 1e-12),
        activation=huggingface_vit.activation(config_json),
        layer_scale=1e-6 if f"{BLOCK.format(0, 0)}.layer_scale_parameter" in shapes else None,
    )


def rules(config: ConvNeXtConfig) -> list[Rule]:
    rules = rename_both("convnext.embeddings.patch_embeddings", "stages.0.entrance.0")
    rules += rename_both("convnext.embeddings.layernorm", "stages.0.entrance.1")
    for stage, depth in enumerate(config.depths):
        for i in range(2 if stage > 0 else 0):
            theirs = f"convnext.encoder.stages.{stage}.downsampling_layer.{i}"
            rules += rename_both(theirs, f"stages.{stage}.entrance.{i}")
        for number in range(depth):
            theirs, ours = BLOCK.format(stage, number), f"stages.{stage}.blocks.{number}"
            for name, part in (
                ("dwconv", "spatial"), ("layernorm", "norm"), ("pwconv1", "mlp.fc1"), ("pwconv2", "mlp.fc2")
            ):  # fmt: skip
                rules += rename_both(f"{theirs}.{name}", f"{ours}.{part}")
            if config.layer_scale is not None:
                rules += [rename(f"{theirs}.layer_scale_parameter", f"{ours}.scale.gamma")]
    rules += rename_both("convnext.layernorm", "norm")
    return rules + (rename_both("classifier", "head") if config.num_classes else [])


def describe(config: ConvNeXtConfig) -> dict[str, Any]:
    """The `config.json` of the same network, without its labels."""
    names = {ours: theirs for theirs, ours in reversed(huggingface_vit.ACTIVATIONS.items())}
    return {
        "architectures": ["ConvNextForImageClassification"],
        "model_type": "convnext",
        "depths": list(config.depths),
        "hidden_sizes": list(config.widths),
        "num_stages": len(config.depths),
        "patch_size": config.patch_size,
        "num_channels": config.in_channels,
        "hidden_act": names[config.activation],
        "layer_norm_eps": config.last_norm_eps,
        "layer_scale_init_value": config.layer_scale or 0.0,
        "image_size": config.image_size[0],
    }


def preprocessing(config: ConvNeXtConfig, metadata: CheckpointMetadata) -> Preprocessing:
    return from_huggingface(config.image_size, config.in_channels, metadata)
