"""Depth Anything, V1 and V2, relative and metric, as Hugging Face writes it."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from saccade.checkpoints.dpt_parts import DINOV2_TAPS, taps
from saccade.checkpoints.formats import huggingface_dinov2
from saccade.checkpoints.formats.huggingface_dpt import neck
from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.checkpoints.processors import from_huggingface
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError
from saccade.models.depth_anything import DepthAnythingConfig

NAME = "Hugging Face Depth Anything"
ARCHITECTURE = "depth_anything"
BACKBONE, DINOV2 = "backbone.", f"{huggingface_dinov2.PLAIN}."


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the token of DINOv2's masked training."""
    return {name: tensor for name, tensor in tensors.items() if name != f"{BACKBONE}embeddings.mask_token"}


def matches(names: set[str]) -> bool:
    needed = {"embeddings.cls_token", "encoder.layer.0.layer_scale1.lambda1"}
    return {*(f"{BACKBONE}{name}" for name in needed), "neck.convs.0.weight", "head.conv3.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> DepthAnythingConfig:
    config_json = metadata.config
    if config_json.get("head_in_index", -1) not in (-1, 3):
        raise CheckpointError("a Depth Anything whose head reads another map than the last is not supported")
    inner = {DINOV2 + name.removeprefix(BACKBONE): shape for name, shape in shapes.items() if name.startswith(BACKBONE)}
    backbone_json = config_json.get("backbone_config") or {}
    if not backbone_json.get("apply_layernorm", True):
        raise CheckpointError("a Depth Anything without the last norm of its backbone is not supported")
    heads = metadata.options.get("backbone_config.block.num_heads")
    options = {"block.num_heads": heads} if heads else {}
    about = CheckpointMetadata(backbone_json, image_size=metadata.image_size, options=options, notes=metadata.notes)
    backbone = huggingface_dinov2.infer(inner, about)
    channels = [shapes[f"neck.convs.{level}.weight"][1] for level in range(4)]
    metric = config_json.get("depth_estimation_type", "relative") == "metric"
    return DepthAnythingConfig(
        backbone_config=replace(backbone, num_classes=0, position_resampling="bicubic"),  # as the library's DINOv2
        taps=_taps(backbone_json, backbone.depth, metadata),
        channels=(channels[0], channels[1], channels[2], channels[3]),
        features=shapes["neck.convs.0.weight"][0],
        max_depth=float(config_json.get("max_depth") or 1) if metric else None,
    )


def _taps(backbone_json: dict[str, Any], depth: int, metadata: CheckpointMetadata) -> tuple[int, ...]:
    """`out_indices` and `out_features` count the embedding as layer 0."""
    layers = backbone_json.get("out_indices")
    if layers is None and backbone_json.get("out_features"):
        layers = [int(name.removeprefix("stage")) for name in backbone_json["out_features"]]
    return taps([int(layer) - 1 for layer in layers] if layers else None, depth, metadata, published=DINOV2_TAPS)


def rules(config: DepthAnythingConfig) -> list[Rule]:
    rules = [
        Rule(
            tuple(BACKBONE + name.removeprefix(DINOV2) for name in r.theirs),
            tuple(f"backbone.{name}" for name in r.ours),
            r.steps,
        )
        for r in huggingface_dinov2.rules(config.backbone_config)
    ]
    return rules + neck(config) + [rule for n in (1, 2, 3) for rule in rename_both(f"head.conv{n}", f"head.conv{n}")]


def describe(config: DepthAnythingConfig) -> dict[str, Any]:
    """The `config.json` of the same network."""
    backbone = huggingface_dinov2.describe(config.backbone_config)
    del backbone["architectures"]
    layers = [block + 1 for block in config.taps]
    return {
        "architectures": ["DepthAnythingForDepthEstimation"],
        "model_type": "depth_anything",
        "backbone_config": {
            **backbone,
            "out_indices": layers,
            "out_features": [f"stage{layer}" for layer in layers],
            "apply_layernorm": True,
            "reshape_hidden_states": False,
        },
        "patch_size": backbone["patch_size"],
        "reassemble_hidden_size": backbone["hidden_size"],
        "neck_hidden_sizes": list(config.channels),
        "fusion_hidden_size": config.features,
        "depth_estimation_type": "relative" if config.max_depth is None else "metric",
        "max_depth": 1 if config.max_depth is None else int(config.max_depth),
    }


def unsupported(config: DepthAnythingConfig) -> dict[str, str]:
    """Options whose value the library does not have, and what it has."""
    whole = config.max_depth is None or config.max_depth == int(config.max_depth)
    return {} if whole else {"max_depth": "a whole number of metres"}


def task(config: DepthAnythingConfig) -> str:
    return "depth"


def task_state(config: DepthAnythingConfig) -> dict[str, Any]:
    """A model of metric depth predicts metres."""
    return {} if config.max_depth is None else {"loss": "silog"}


def preprocessing(config: DepthAnythingConfig, metadata: CheckpointMetadata) -> Preprocessing:
    return from_huggingface(config.image_size, config.in_channels, metadata)
