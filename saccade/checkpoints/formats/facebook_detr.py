"""DETR as Meta writes it: `detr-r50-e632da11.pth` and its relatives, with and without the mask head."""

from torch import Tensor

from saccade.checkpoints.detr_parts import backbone_rules, box_head, dilated, mask_head, num_heads
from saccade.checkpoints.formats import torchvision_resnet
from saccade.checkpoints.mapping import Rule, rename, rename_both, split
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.deferred import Deferred
from saccade.models.detr import DETRConfig
from saccade.nn.transformer import BlockConfig

detection = Deferred("torchvision.models.detection")

NAME = "Meta DETR"
ARCHITECTURE = "detr"
BODY = "backbone.0.body."
ENCODER, DECODER = "transformer.encoder.layers.{}", "transformer.decoder.layers.{}"


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model with a mask head holds the detector as a part named `detr`."""
    return {name.removeprefix("detr."): tensor for name, tensor in tensors.items()}


def matches(names: set[str]) -> bool:
    return {"query_embed.weight", "input_proj.weight", f"{ENCODER.format(0)}.self_attn.in_proj_weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> DETRConfig:
    """The config: the shapes show all of it but the number of heads and whether the last stage is dilated."""
    num_queries, dim = shapes["query_embed.weight"]
    body = {name.removeprefix(BODY): shape for name, shape in shapes.items() if name.startswith(BODY)}
    return DETRConfig(
        block=BlockConfig(
            dim, num_heads(dim, metadata), shapes[f"{ENCODER.format(0)}.linear1.weight"][0],
            norm="pre" if "transformer.encoder.norm.weight" in shapes else "post", norm_eps=1e-5, activation="relu",
            dropout=0.1, attention_dropout=0.1,
        ),
        backbone_config=dilated(torchvision_resnet.infer(body, metadata), metadata),
        encoder_depth=count_layers(shapes, ENCODER + ".linear1.weight"),
        decoder_depth=count_layers(shapes, DECODER + ".linear1.weight"),
        num_queries=num_queries,
        num_classes=shapes["class_embed.weight"][0] - 1,
        positions="learned" if "backbone.1.row_embed.weight" in shapes else "sine",
        padding="batched",
        masks="mask_head.lay1.weight" in shapes,
    )  # fmt: skip


def rules(config: DETRConfig) -> list[Rule]:
    rules = backbone_rules(torchvision_resnet.rules(config.backbone_config), BODY)
    rules += rename_both("input_proj", "input_proj") + rename_both("class_embed", "class_embed")
    rules += [rename("query_embed.weight", "queries"), *box_head("bbox_embed")]
    if config.positions == "learned":
        rules += [rename("backbone.1.row_embed.weight", "pos_embed.rows")]
        rules += [rename("backbone.1.col_embed.weight", "pos_embed.columns")]
    for i in range(config.encoder_depth):
        rules += _layer(ENCODER.format(i), f"encoder.{i}", {"self_attn": "attn"}, ("norm1", "norm2"))
    for i in range(config.decoder_depth):
        attentions = {"self_attn": "attn", "multihead_attn": "cross_attn"}
        rules += _layer(DECODER.format(i), f"decoder.{i}", attentions, ("norm1", "norm_cross", "norm2"))
    if config.block.norm == "pre":
        rules += rename_both("transformer.encoder.norm", "encoder_norm")
    rules += rename_both("transformer.decoder.norm", "decoder_norm")
    return rules + (mask_head("bbox_attention", "mask_head") if config.masks else [])


def _layer(theirs: str, ours: str, attentions: dict[str, str], norms: tuple[str, ...]) -> list[Rule]:
    rules = rename_both(f"{theirs}.linear1", f"{ours}.mlp.fc1") + rename_both(f"{theirs}.linear2", f"{ours}.mlp.fc2")
    for name, part in attentions.items():
        for kind in ("weight", "bias"):
            rules.append(split(f"{theirs}.{name}.in_proj_{kind}", [f"{ours}.{part}.{x}.{kind}" for x in "qkv"]))
        rules += rename_both(f"{theirs}.{name}.out_proj", f"{ours}.{part}.proj")
    for number, norm in enumerate(norms, 1):
        rules += rename_both(f"{theirs}.norm{number}", f"{ours}.{norm}")
    return rules


def task(config: DETRConfig) -> str:
    return "detection"


def labels(config: DETRConfig) -> tuple[str, ...] | None:
    """COCO's names by their ids, 1 to 90 with holes, for as many classes as its models have."""
    if config.num_classes != 91:
        return None
    return tuple(detection.FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"])


def preprocessing(config: DETRConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """The shorter side to 800 pixels, unless the longer one would pass 1333; ImageNet's statistics."""
    return plain((800, 1333), config.in_channels, metadata, resize="range", crop_pct=1.0, interpolation="bilinear")
