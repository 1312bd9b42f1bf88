"""DETR as Hugging Face writes it: boxes alone or with masks, on timm's ResNet or on its own."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from saccade.checkpoints.detr_parts import backbone_rules, box_head, dilated, mask_head, num_heads
from saccade.checkpoints.formats import huggingface_resnet, torchvision_resnet
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_huggingface, plain
from saccade.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from saccade.models.detr import DETRConfig
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face DETR"
ARCHITECTURE = "detr"
BODY = "model.backbone.conv_encoder.model."
OWN = "resnet."  # what the names of Hugging Face's own ResNet get in front, as in its classifiers
ENCODER, DECODER = "model.encoder.layers.{}", "model.decoder.layers.{}"


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One name for what has had several: the detector inside a segmenter, positions, the two ResNets."""
    renamed = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("detr.").replace("model.backbone.position_embedding.", "model.position_embedding.")
        if name.startswith((f"{BODY}embedder.", f"{BODY}encoder.")):
            name = BODY + OWN + name.removeprefix(BODY)
        if not (name.startswith(BODY) and name.endswith("num_batches_tracked")):
            renamed[name] = tensor
    return renamed


def matches(names: set[str]) -> bool:
    return {"model.query_position_embeddings.weight", "class_labels_classifier.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> DETRConfig:
    num_queries, dim = shapes["model.query_position_embeddings.weight"]
    body = {name.removeprefix(BODY): shape for name, shape in shapes.items() if name.startswith(BODY)}
    publisher = huggingface_resnet if huggingface_resnet.matches(set(body)) else torchvision_resnet
    return DETRConfig(
        block=BlockConfig(
            dim, num_heads(dim, metadata), shapes[f"{ENCODER.format(0)}.fc1.weight"][0], norm="post", norm_eps=1e-5,
            activation="relu", dropout=0.1,
        ),
        backbone_config=dilated(publisher.infer(body, CheckpointMetadata()), metadata),
        encoder_depth=count_layers(shapes, ENCODER + ".fc1.weight"),
        decoder_depth=count_layers(shapes, DECODER + ".fc1.weight"),
        num_queries=num_queries,
        num_classes=shapes["class_labels_classifier.weight"][0] - 1,
        positions="learned" if "model.position_embedding.row_embeddings.weight" in shapes else "sine",
        padding="batched",
        masks="mask_head.lay1.weight" in shapes,
    )  # fmt: skip


def rules(config: DETRConfig) -> list[Rule]:
    """For both backbones: of two rules for the same tensor of ours the one whose names are in the file is used."""
    rules = backbone_rules(huggingface_resnet.rules(config.backbone_config), BODY)
    rules += backbone_rules(torchvision_resnet.rules(config.backbone_config), BODY)
    rules += rename_both("model.input_projection", "input_proj")
    rules += rename_both("class_labels_classifier", "class_embed")
    rules += [rename("model.query_position_embeddings.weight", "queries"), *box_head("bbox_predictor")]
    if config.positions == "learned":
        rules += [rename("model.position_embedding.row_embeddings.weight", "pos_embed.rows")]
        rules += [rename("model.position_embedding.column_embeddings.weight", "pos_embed.columns")]
    for i in range(config.encoder_depth):
        rules += _layer(ENCODER.format(i), f"encoder.{i}", {"self_attn": ("attn", "norm1")})
    for i in range(config.decoder_depth):
        parts = {"self_attn": ("attn", "norm1"), "encoder_attn": ("cross_attn", "norm_cross")}
        rules += _layer(DECODER.format(i), f"decoder.{i}", parts)
    rules += rename_both("model.decoder.layernorm", "decoder_norm")
    return rules + (mask_head("bbox_attention", "mask_head") if config.masks else [])


def _layer(theirs: str, ours: str, attentions: dict[str, tuple[str, str]]) -> list[Rule]:
    rules = rename_both(f"{theirs}.fc1", f"{ours}.mlp.fc1") + rename_both(f"{theirs}.fc2", f"{ours}.mlp.fc2")
    rules += rename_both(f"{theirs}.final_layer_norm", f"{ours}.norm2")
    for name, (attention, norm) in attentions.items():
        for part in "qkv":
            rules += rename_both(f"{theirs}.{name}.{part}_proj", f"{ours}.{attention}.{part}")
        rules += rename_both(f"{theirs}.{name}.out_proj", f"{ours}.{attention}.proj")
        rules += rename_both(f"{theirs}.{name}_layer_norm", f"{ours}.{norm}")
    return rules


def task(config: DETRConfig) -> str:
    return "detection"


def preprocessing(config: DETRConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From the processor next to the file, with DETR's defaults: 800 and 1333 pixels, ImageNet's statistics."""
    if not metadata.processor:
        return plain((800, 1333), config.in_channels, metadata, resize="edges", crop_pct=1.0, interpolation="bilinear")
    processor: dict[str, Any] = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD, **metadata.processor}
    size = processor.get("size") or {"shortest_edge": 800, "longest_edge": 1333}
    if isinstance(size, int):
        size = {"shortest_edge": size}
    if "shortest_edge" in size:
        size = {"longest_edge": processor.get("max_size") or 1333, **size}
    return from_huggingface((800, 1333), config.in_channels, replace(metadata, processor={**processor, "size": size}))
