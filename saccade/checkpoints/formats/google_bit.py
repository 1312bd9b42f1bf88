"""BiT ResNets as google-research/big_transfer publishes them: `.npz` files."""

from torch import Tensor

from saccade.checkpoints.blocks import INPUT_FIRST
from saccade.checkpoints.mapping import Reshape, Rule, Transpose, rename
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.data.preprocessing import Preprocessing
from saccade.models.bit import BiTConfig

NAME = "Google BiT"
ARCHITECTURE = "bit"

CONV = "standardized_conv2d/kernel"
GROUP_NORM = {"gamma": "weight", "beta": "bias"}


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without `resnet/` in front of every name; norms that broadcast over images ([1, 1, 1, C]) as vectors."""
    flat = {name: name.endswith(("/gamma", "/beta")) for name in tensors}
    return {name.removeprefix("resnet/"): t.flatten() if flat[name] else t for name, t in tensors.items()}


def matches(names: set[str]) -> bool:
    return {f"root_block/{CONV}", f"block1/unit01/a/{CONV}", "group_norm/gamma"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> BiTConfig:
    """Blocks and units are counted from 1, units with two digits."""
    depths = []
    while f"block{len(depths) + 1}/unit01/a/{CONV}" in shapes:
        stage = f"block{len(depths) + 1}/unit"
        depths.append(sum(name.startswith(stage) and name.endswith(f"/b/{CONV}") for name in shapes))
    _, _, in_channels, width = shapes[f"root_block/{CONV}"]
    return BiTConfig(
        tuple(depths),
        width_factor=width // 64,
        image_size=metadata.size((224, 224)),
        in_channels=in_channels,
        num_classes=shapes["head/conv2d/kernel"][3] if "head/conv2d/kernel" in shapes else 0,
        conv_eps=1e-10,
    )


def rules(config: BiTConfig) -> list[Rule]:
    rules = [rename(f"root_block/{CONV}", "root.weight", INPUT_FIRST)]
    rules += [rename(f"group_norm/{name}", f"norm.{part}") for name, part in GROUP_NORM.items()]
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            theirs, ours = f"block{stage + 1}/unit{number + 1:02d}", f"stages.{stage}.{number}"
            for i, letter in enumerate("abc"):
                rules += [rename(f"{theirs}/{letter}/{CONV}", f"{ours}.convs.{i}.weight", INPUT_FIRST)]
                names = GROUP_NORM.items()
                rules += [rename(f"{theirs}/{letter}/group_norm/{n}", f"{ours}.norms.{i}.{p}") for n, p in names]
            if number == 0:
                rules += [rename(f"{theirs}/a/proj/{CONV}", f"{ours}.shortcut.weight", INPUT_FIRST)]
    if not config.num_classes:
        return rules
    width = 256 * 2 ** (len(config.depths) - 1) * config.width_factor
    flat = Reshape((1, 1, width, config.num_classes), (width, config.num_classes))
    head = rename("head/conv2d/kernel", "head.weight", flat, Transpose((1, 0)))
    return [*rules, head, rename("head/conv2d/bias", "head.bias")]


def preprocessing(config: BiTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """BiT's evaluation: squeezed to the size, bilinear, into [-1, 1]."""
    half = (0.5,) * config.in_channels
    return Preprocessing(config.image_size, "exact", 1.0, "bilinear", config.in_channels, mean=half, std=half)
