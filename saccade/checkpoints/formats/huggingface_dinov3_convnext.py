"""DINOv3's ConvNeXt as Hugging Face writes it: the network of 2022 without a head, under new names."""

from torch import Tensor

from saccade.checkpoints.formats import huggingface_dinov3, huggingface_vit
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import target_size
from saccade.models.convnext import ConvNeXtConfig

NAME = "Hugging Face DINOv3 ConvNeXt"
ARCHITECTURE = "convnext"
BLOCK = "stages.{}.layers.{}"
PARTS = {
    "depthwise_conv": "spatial", "layer_norm": "norm", "pointwise_conv1": "mlp.fc1", "pointwise_conv2": "mlp.fc2",
}  # fmt: skip


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stages as in published files, without the `model.` of newer ones."""
    return {n.removeprefix("model.") if n.startswith("model.stages.") else n: t for n, t in tensors.items()}


def matches(names: set[str]) -> bool:
    return {"stages.0.downsample_layers.0.weight", f"{BLOCK.format(0, 0)}.depthwise_conv.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ConvNeXtConfig:
    config_json = metadata.config
    stages = count_layers(shapes, BLOCK.format("{}", 0) + ".depthwise_conv.weight")
    _, in_channels, patch, _ = shapes["stages.0.downsample_layers.0.weight"]
    first = BLOCK.format("{}", "{{}}") + ".depthwise_conv.weight"
    norm_eps = config_json.get("layer_norm_eps", 1e-6)
    return ConvNeXtConfig(
        tuple(count_layers(shapes, first.format(stage)) for stage in range(stages)),
        tuple(shapes[BLOCK.format(stage, 0) + ".depthwise_conv.weight"][0] for stage in range(stages)),
        patch_size=patch,
        image_size=target_size(metadata.processor, metadata.size((224, 224)))[0],
        in_channels=in_channels,
        num_classes=0,
        norm_eps=norm_eps,
        last_norm_eps=norm_eps,
        activation=huggingface_vit.activation(config_json),
    )


def rules(config: ConvNeXtConfig) -> list[Rule]:
    rules = rename_both("layer_norm", "norm")
    for stage, depth in enumerate(config.depths):
        for i in range(2):
            rules += rename_both(f"stages.{stage}.downsample_layers.{i}", f"stages.{stage}.entrance.{i}")
        for number in range(depth):
            theirs, ours = BLOCK.format(stage, number), f"stages.{stage}.blocks.{number}"
            for name, part in PARTS.items():
                rules += rename_both(f"{theirs}.{name}", f"{ours}.{part}")
            rules += [rename(f"{theirs}.gamma", f"{ours}.scale.gamma")]
    return rules


preprocessing = huggingface_dinov3.preprocessing
