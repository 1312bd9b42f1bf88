"""DPT as its authors write it: `dpt_large-midas-2f21e586.pt` and its relatives, for depth and for segmentation."""

from dataclasses import replace

from torch import Tensor

from saccade.checkpoints.blocks import batch_norm
from saccade.checkpoints.dpt_parts import taps, under
from saccade.checkpoints.formats import timm_hybrid, timm_vit
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.checkpoints.processors import HALF, plain
from saccade.data.preprocessing import Preprocessing
from saccade.models.dpt import DPTConfig

NAME = "DPT of isl-org"
ARCHITECTURE = "dpt"
VIT, POST = "pretrained.model.", "pretrained.act_postprocess"


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the backbone's classifier, which is in the file and unused."""
    unused = (f"{VIT}head.", f"{VIT}head_dist.", f"{VIT}pre_logits.")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(unused)}


def matches(names: set[str]) -> bool:
    return {f"{VIT}blocks.0.attn.qkv.weight", "scratch.layer1_rn.weight", "scratch.output_conv.0.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> DPTConfig:
    inner = {name.removeprefix(VIT): shape for name, shape in shapes.items() if name.startswith(VIT)}
    hybrid = timm_hybrid.matches(set(inner))
    publisher = timm_hybrid if hybrid else timm_vit
    heads = metadata.options.get("backbone_config.block.num_heads") or metadata.config.get("heads")
    options = {"block.num_heads": heads} if heads else {}
    backbone = publisher.infer(
        inner, CheckpointMetadata(image_size=metadata.image_size, options=options, notes=metadata.notes)
    )
    segments = "scratch.output_conv.4.weight" in shapes and "scratch.output_conv.1.running_mean" in shapes
    first = f"{POST}{3 if hybrid else 1}.0.project.0.weight"
    readout = (
        "project" if first in shapes else metadata.options.get("readout") or metadata.config.get("readout") or "ignore"
    )
    channels = [shapes[f"scratch.layer{level}_rn.weight"][1] for level in (1, 2, 3, 4)]
    return DPTConfig(
        backbone_config=replace(backbone, num_classes=0, pre_logits=None, position_resampling="bilinear"),
        backbone="hybrid" if hybrid else "vit",
        taps=taps(metadata.config.get("hooks"), backbone.depth, metadata, count=2 if hybrid else 4),
        channels=(channels[0], channels[1], channels[2], channels[3]),
        features=shapes["scratch.layer1_rn.weight"][0],
        readout=readout,
        head="segmentation" if segments else "depth",
        batch_norm="scratch.refinenet1.resConfUnit1.bn1.weight" in shapes,
        num_classes=shapes["scratch.output_conv.4.weight"][0] if segments else 0,
        auxiliary="auxlayer.0.weight" in shapes,
    )


def rules(config: DPTConfig) -> list[Rule]:
    publisher = timm_hybrid if config.backbone == "hybrid" else timm_vit
    rules = under("backbone.", publisher.rules(config.backbone_config), VIT)
    for index in range(len(config.taps)):
        theirs, ours = f"{POST}{index + 5 - len(config.taps)}", f"reassemble.{index}"
        rules += rename_both(f"{theirs}.0.project.0", f"{ours}.readout.0") if config.readout == "project" else []
        rules += rename_both(f"{theirs}.3", f"{ours}.project")
        if index + 4 - len(config.taps) != 2:  # the map of stride 16 is not resized
            rules += rename_both(f"{theirs}.4", f"{ours}.resize")
    rules += scratch(config)
    rules += (
        class_head("scratch.output_conv", "head")
        if config.head == "segmentation"
        else depth_head("scratch.output_conv")
    )
    return rules + (class_head("auxlayer", "aux_head") if config.auxiliary else [])


def scratch(config: DPTConfig, prefix: str = "") -> list[Rule]:
    """Fusion, below a prefix of their names."""
    rules = []
    for level in range(4):
        rules.append(rename(f"{prefix}scratch.layer{level + 1}_rn.weight", f"narrow.{level}.weight"))
        theirs, ours = f"{prefix}scratch.refinenet{level + 1}", f"fuse.{level}"
        rules += rename_both(f"{theirs}.out_conv", f"{ours}.out")
        for unit, part in (("resConfUnit1", "added"), ("resConfUnit2", "fused")):
            for n in (1, 2):
                rules += _conv(f"{theirs}.{unit}.conv{n}", f"{ours}.{part}.conv{n}", bias=not config.batch_norm)
                rules += batch_norm(f"{theirs}.{unit}.bn{n}", f"{ours}.{part}.norm{n}") if config.batch_norm else []
    return rules


def depth_head(theirs: str) -> list[Rule]:
    return [rule for i in (0, 2, 4) for rule in rename_both(f"{theirs}.{i}", f"head.{i}")]


def class_head(theirs: str, ours: str) -> list[Rule]:
    rules = [rename(f"{theirs}.0.weight", f"{ours}.0.weight"), *batch_norm(f"{theirs}.1", f"{ours}.1")]
    return rules + rename_both(f"{theirs}.4", f"{ours}.4")


def _conv(theirs: str, ours: str, *, bias: bool) -> list[Rule]:
    return rename_both(theirs, ours) if bias else [rename(f"{theirs}.weight", f"{ours}.weight")]


def task(config: DPTConfig) -> str:
    return config.head


def preprocessing(config: DPTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """384 x 384 pixels in [-1, 1]."""
    return plain(config.image_size, config.in_channels, metadata, resize="exact", crop_pct=1.0, mean=HALF, std=HALF)
