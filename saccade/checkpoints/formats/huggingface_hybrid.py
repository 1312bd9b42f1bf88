"""Hybrid ViTs as Hugging Face wrote them (`ViTHybridForImageClassification`, up to version 4 of the library)."""

from saccade.checkpoints.blocks import group_norm_pair, huggingface_layer, stem, stem_config
from saccade.checkpoints.formats import huggingface_vit
from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_huggingface
from saccade.data.preprocessing import Preprocessing
from saccade.models.hybrid import HybridConfig
from saccade.nn.positions import Resampling

NAME = "Hugging Face hybrid ViT"
ARCHITECTURE = "hybrid"

BACKBONE = "vit.embeddings.patch_embeddings.backbone.bit"
UNIT = BACKBONE + ".encoder.stages.{stage}.layers.{number}."

canonical = huggingface_vit.canonical


def matches(names: set[str]) -> bool:
    needed = {f"{BACKBONE}.embedder.convolution.weight", "vit.embeddings.patch_embeddings.projection.weight"}
    return needed | {f"{BACKBONE}.embedder.norm.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> HybridConfig:
    width, in_channels = shapes[f"{BACKBONE}.embedder.convolution.weight"][:2]
    _, _, *patch_size = shapes["vit.embeddings.patch_embeddings.projection.weight"]
    depth = count_layers(shapes, "vit.encoder.layer.{}.layernorm_before.weight")
    resnet = stem_config(set(shapes), width, UNIT + "conv1.weight", norm_eps=1e-5, conv_eps=1e-8)
    pixels = (patch_size[0] * resnet.stride, patch_size[1] * resnet.stride)
    return HybridConfig(
        block=huggingface_vit.block_config(shapes, huggingface_vit.LAYER, depth, metadata),
        depth=depth,
        stem=resnet,
        image_size=huggingface_vit.image_size_of(shapes["vit.embeddings.position_embeddings"][1] - 1, pixels, metadata),
        patch_size=(patch_size[0], patch_size[1]),
        in_channels=in_channels,
        num_classes=shapes["classifier.weight"][0] if "classifier.weight" in shapes else 0,
    )


def rules(config: HybridConfig) -> list[Rule]:
    root = (f"{BACKBONE}.embedder.convolution", f"{BACKBONE}.embedder.norm")
    rules = stem(config.stem, root, UNIT, ("downsample.conv", "downsample.norm"), group_norm_pair)
    rules += huggingface_vit.embeddings("vit", "vit.encoder")
    for i in range(config.depth):
        rules += huggingface_layer(f"vit.encoder.layer.{i}", f"vit.encoder.blocks.{i}", config.block)
    rules += rename_both("vit.layernorm", "vit.encoder.norm")
    return rules + (rename_both("classifier", "vit.head") if config.num_classes else [])


def resampling(config: HybridConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of the library's `interpolate_pos_encoding`."""
    return "bicubic"


def preprocessing(config: HybridConfig, metadata: CheckpointMetadata) -> Preprocessing:
    return from_huggingface(config.image_size, config.in_channels, metadata)
