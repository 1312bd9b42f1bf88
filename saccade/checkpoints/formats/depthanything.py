"""Depth Anything V1 and V2 as their authors write them: `depth_anything_v2_vits.pth` and its relatives."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from saccade.checkpoints.dpt_parts import DINOV2_TAPS, taps, under
from saccade.checkpoints.formats import facebook_dino
from saccade.checkpoints.formats.isl_dpt import scratch
from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.checkpoints.processors import plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.depth_anything import DepthAnythingConfig

NAME = "Depth Anything"
ARCHITECTURE = "depth_anything"
BACKBONE, HEAD = "pretrained.", "depth_head."


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the token of DINOv2's masked training."""
    return {name: tensor for name, tensor in tensors.items() if name != f"{BACKBONE}mask_token"}


def matches(names: set[str]) -> bool:
    needed = {"projects.0.weight", "scratch.layer1_rn.weight", "scratch.output_conv2.0.weight"}
    return {f"{BACKBONE}blocks.0.ls1.gamma", *(HEAD + name for name in needed)} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> DepthAnythingConfig:
    inner = {name.removeprefix(BACKBONE): shape for name, shape in shapes.items() if name.startswith(BACKBONE)}
    heads = metadata.options.get("backbone_config.block.num_heads")
    options = {"block.num_heads": heads} if heads else {}
    backbone = facebook_dino.infer(
        inner, CheckpointMetadata(image_size=metadata.image_size, options=options, notes=metadata.notes)
    )
    if "max_depth" not in metadata.options:
        metadata.notes.append(
            "the tensors of relative and metric models have the same names: relative depth assumed; "
            "options={'max_depth': 20} opens a metric model of indoor scenes, 80 one of outdoor scenes"
        )
    if "taps" not in metadata.options:
        metadata.notes.append("the blocks that V2 taps assumed; V1 taps the last four: options={'taps': (…)}")
    channels = [shapes[f"{HEAD}scratch.layer{level}_rn.weight"][1] for level in (1, 2, 3, 4)]
    return DepthAnythingConfig(
        backbone_config=replace(backbone, position_resampling=facebook_dino.resampling(backbone, metadata)),
        taps=taps(None, backbone.depth, metadata, published=DINOV2_TAPS),
        channels=(channels[0], channels[1], channels[2], channels[3]),
        features=shapes[f"{HEAD}scratch.layer1_rn.weight"][0],
    )


def rules(config: DepthAnythingConfig) -> list[Rule]:
    rules = under("backbone.", facebook_dino.rules(config.backbone_config), BACKBONE)
    for index in range(4):
        rules += rename_both(f"{HEAD}projects.{index}", f"reassemble.{index}.project")
        rules += rename_both(f"{HEAD}resize_layers.{index}", f"reassemble.{index}.resize") if index != 2 else []
    rules += scratch(config, HEAD)
    names = {"output_conv1": "conv1", "output_conv2.0": "conv2", "output_conv2.2": "conv3"}
    return rules + [
        rule for theirs, ours in names.items() for rule in rename_both(f"{HEAD}scratch.{theirs}", f"head.{ours}")
    ]


def task(config: DepthAnythingConfig) -> str:
    return "depth"


def task_state(config: DepthAnythingConfig) -> dict[str, Any]:
    """A model of metric depth predicts metres."""
    return {} if config.max_depth is None else {"loss": "silog"}


def preprocessing(config: DepthAnythingConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """ImageNet's statistics; the shorter side has 518 pixels, both are multiples of a patch."""
    resized = plain(config.image_size, config.in_channels, metadata, resize="cover", crop_pct=1.0)
    return replace(resized, multiple=config.backbone_config.patch_size[0])
