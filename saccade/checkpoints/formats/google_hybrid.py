"""Hybrid ViTs as google-research/vision_transformer publishes them: a ResNet's names in front of a ViT's."""

from saccade.checkpoints.blocks import INPUT_FIRST, stem_config
from saccade.checkpoints.formats import google_vit
from saccade.checkpoints.mapping import Rule, rename
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size
from saccade.data.preprocessing import Preprocessing
from saccade.models.hybrid import HybridConfig
from saccade.nn.positions import Resampling

NAME = "Google hybrid ViT"
ARCHITECTURE = "hybrid"

canonical = google_vit.canonical


def matches(names: set[str]) -> bool:
    layer = f"Transformer/encoderblock_0/{google_vit.ATTENTION}"
    return {"conv_root/kernel", "gn_root/scale", "embedding/kernel", f"{layer}/query/kernel"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> HybridConfig:
    """Everything is visible but a grid that is not square."""
    p, q, _, _ = shapes["embedding/kernel"]
    _, _, in_channels, width = shapes["conv_root/kernel"]
    names = {f"{name.split('/', 2)[0]}/{name.split('/', 2)[1]}" for name in shapes if name.startswith("block")}
    counted = {f"{int(name[5 : name.index('/')]) - 1}/{int(name[name.index('unit') + 4 :]) - 1}" for name in names}
    resnet = stem_config(counted, width, "{stage}/{number}", norm_eps=1e-6, conv_eps=1e-10)
    return HybridConfig(
        block=google_vit.block_config(shapes),
        depth=count_layers(shapes, "Transformer/encoderblock_{}/LayerNorm_0/scale"),
        stem=resnet,
        image_size=image_size(shapes[google_vit.POSITIONS][1] - 1, (p * resnet.stride, q * resnet.stride), metadata),
        patch_size=(p, q),
        in_channels=in_channels,
        num_classes=shapes["head/kernel"][1] if "head/kernel" in shapes else 0,
        pre_logits=shapes["pre_logits/kernel"][1] if "pre_logits/kernel" in shapes else None,
    )


def rules(config: HybridConfig) -> list[Rule]:
    return _stem(config) + google_vit.rules(config.vit, "vit.")


def _stem(config: HybridConfig) -> list[Rule]:
    rules = pair("conv_root", "gn_root", "stem.root")
    for stage, depth in enumerate(config.stem.depths):
        for number in range(depth):
            theirs, ours = f"block{stage + 1}/unit{number + 1}", f"stem.stages.{stage}.{number}"
            for i in (1, 2, 3):
                rules += pair(f"{theirs}/conv{i}", f"{theirs}/gn{i}", f"{ours}.conv{i}")
            if number == 0:
                rules += pair(f"{theirs}/conv_proj", f"{theirs}/gn_proj", f"{ours}.shortcut")
    return rules


def pair(conv: str, norm: str, ours: str) -> list[Rule]:
    """A convolution and its group norm."""
    return [
        rename(f"{conv}/kernel", f"{ours}.0.weight", INPUT_FIRST),
        rename(f"{norm}/scale", f"{ours}.1.weight"),
        rename(f"{norm}/bias", f"{ours}.1.bias"),
    ]


def resampling(config: HybridConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of the `zoom` of SciPy in the publisher's code."""
    return "bilinear-corners"


def preprocessing(config: HybridConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """Google's evaluation: squeezed to the size, bilinear, into [-1, 1]."""
    half = (0.5,) * config.in_channels
    return Preprocessing(config.image_size, "exact", 1.0, "bilinear", config.in_channels, mean=half, std=half)
