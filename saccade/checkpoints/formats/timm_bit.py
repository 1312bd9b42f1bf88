"""BiT ResNets as timm writes them."""

from saccade.checkpoints.mapping import Reshape, Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import HALF, from_timm, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.bit import BiTConfig

NAME = "timm BiT"
ARCHITECTURE = "bit"


def matches(names: set[str]) -> bool:
    needed = {"stem.conv.weight", "stages.0.blocks.0.norm1.weight", "stages.0.blocks.0.conv3.weight", "norm.weight"}
    return needed <= names and "stem.norm.weight" not in names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> BiTConfig:
    width, in_channels = shapes["stem.conv.weight"][:2]
    stages = count_layers(shapes, "stages.{}.blocks.0.norm1.weight")
    return BiTConfig(
        tuple(count_layers(shapes, f"stages.{stage}.blocks.{{}}.norm1.weight") for stage in range(stages)),
        width_factor=width // 64,
        image_size=metadata.size((224, 224)),
        in_channels=in_channels,
        num_classes=shapes["head.fc.weight"][0] if "head.fc.weight" in shapes else 0,
    )


def rules(config: BiTConfig) -> list[Rule]:
    rules = [rename("stem.conv.weight", "root.weight"), *rename_both("norm", "norm")]
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            rules += unit(f"stages.{stage}.blocks.{number}", f"stages.{stage}.{number}", number == 0)
    if not config.num_classes:
        return rules
    width = 256 * 2 ** (len(config.depths) - 1) * config.width_factor
    flat = Reshape((config.num_classes, width, 1, 1), (config.num_classes, width))
    return [*rules, rename("head.fc.weight", "head.weight", flat), rename("head.fc.bias", "head.bias")]


def unit(theirs: str, ours: str, first: bool) -> list[Rule]:
    """A block as timm and Hugging Face name its parts."""
    rules = []
    for i in range(3):
        rules += rename_both(f"{theirs}.norm{i + 1}", f"{ours}.norms.{i}")
        rules += [rename(f"{theirs}.conv{i + 1}.weight", f"{ours}.convs.{i}.weight")]
    return rules + ([rename(f"{theirs}.downsample.conv.weight", f"{ours}.shortcut.weight")] if first else [])


def preprocessing(config: BiTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From timm's `config.json`; for a bare file mean and std 0.5, bilinear."""
    return from_timm(config.image_size, config.in_channels, metadata) or plain(
        config.image_size, config.in_channels, metadata, interpolation="bilinear", mean=HALF, std=HALF
    )
