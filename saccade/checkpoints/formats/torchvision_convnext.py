"""ConvNeXt as torchvision writes it."""

from saccade.checkpoints.mapping import Reshape, Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.convnext import ConvNeXtConfig

NAME = "torchvision ConvNeXt"
ARCHITECTURE = "convnext"


def matches(names: set[str]) -> bool:
    return {"features.0.0.weight", "features.1.0.layer_scale", "features.1.0.block.5.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ConvNeXtConfig:
    """Odd indices are stages, even ones the downsampling layers between them."""
    depths, widths = [], []
    while f"features.{2 * len(depths) + 1}.0.layer_scale" in shapes:
        stage = 2 * len(depths) + 1
        widths.append(shapes[f"features.{stage}.0.layer_scale"][0])
        depths.append(sum(n.startswith(f"features.{stage}.") and n.endswith("layer_scale") for n in shapes))
    _, in_channels, patch, _ = shapes["features.0.0.weight"]
    return ConvNeXtConfig(
        tuple(depths),
        tuple(widths),
        patch_size=patch,
        image_size=metadata.size((224, 224)),
        in_channels=in_channels,
        num_classes=shapes["classifier.2.weight"][0] if "classifier.2.weight" in shapes else 0,
    )


def rules(config: ConvNeXtConfig) -> list[Rule]:
    rules = rename_both("classifier.0", "norm") + (rename_both("classifier.2", "head") if config.num_classes else [])
    for stage, (depth, width) in enumerate(zip(config.depths, config.widths)):
        for i in range(2):
            rules += rename_both(f"features.{2 * stage}.{i}", f"stages.{stage}.entrance.{i}")
        for number in range(depth):
            theirs, ours = f"features.{2 * stage + 1}.{number}", f"stages.{stage}.blocks.{number}"
            for place, part in ((0, "spatial"), (2, "norm"), (3, "mlp.fc1"), (5, "mlp.fc2")):
                rules += rename_both(f"{theirs}.block.{place}", f"{ours}.{part}")
            rules += [rename(f"{theirs}.layer_scale", f"{ours}.scale.gamma", Reshape((width, 1, 1), (width,)))]
    return rules


def preprocessing(config: ConvNeXtConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """ImageNet's statistics; the middle of 236 pixels, as torchvision evaluates the tiny one."""
    return plain(config.image_size, config.in_channels, metadata, crop_pct=224 / 236, interpolation="bilinear")
