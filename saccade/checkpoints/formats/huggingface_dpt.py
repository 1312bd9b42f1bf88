"""DPT as Hugging Face writes it, for depth and for segmentation, on a ViT or a hybrid."""

from dataclasses import replace

from torch import Tensor

from saccade.checkpoints.blocks import batch_norm, group_norm_pair, huggingface_layer, stem
from saccade.checkpoints.dpt_parts import taps
from saccade.checkpoints.formats import huggingface_hybrid, huggingface_vit
from saccade.checkpoints.formats.isl_dpt import class_head, depth_head
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.checkpoints.processors import from_huggingface
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError
from saccade.models.dpt import DPTConfig

NAME = "Hugging Face DPT"
ARCHITECTURE = "dpt"
HYBRID = "dpt.embeddings.backbone.bit"


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the pooler of the bare model, which no head reads."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("dpt.pooler.")}


def matches(names: set[str]) -> bool:
    return {"dpt.embeddings.cls_token", "neck.convs.0.weight", "head.head.0.weight"} <= names


def as_vit(name: str) -> str:
    """The name of a tensor of the backbone as Hugging Face's ViT, or its hybrid, has it."""
    name = name.replace("dpt.embeddings.backbone", "dpt.embeddings.patch_embeddings.backbone")
    return "vit." + name.replace("dpt.embeddings.projection", "dpt.embeddings.patch_embeddings.projection")[4:]


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> DPTConfig:
    config_json = metadata.config
    if config_json.get("head_in_index", -1) not in (-1, 3) or config_json.get("add_projection"):
        raise CheckpointError("a DPT whose head uses another map than the last is not supported")
    inner = {as_vit(name): shape for name, shape in shapes.items() if name.startswith("dpt.")}
    hybrid = f"{HYBRID}.embedder.convolution.weight" in shapes
    about = CheckpointMetadata(
        {**config_json, "image_size": config_json.get("image_size", 384)},
        image_size=metadata.image_size,
        notes=metadata.notes,
    )
    backbone = huggingface_hybrid.infer(inner, about) if hybrid else huggingface_vit.infer(inner, about)
    if hybrid:  # the JSON's size is that of the image, the projection's patch one place of the map
        backbone = replace(backbone, image_size=huggingface_vit.image_size_of(0, (16, 16), about))
    segments = "head.head.1.running_mean" in shapes
    channels = [shapes[f"neck.convs.{level}.weight"][1] for level in range(4)]
    first = f"neck.reassemble_stage.readout_projects.{2 if hybrid else 0}.0.weight"
    return DPTConfig(
        backbone_config=replace(backbone, num_classes=0, pre_logits=None, position_resampling="bilinear"),
        backbone="hybrid" if hybrid else "vit",
        taps=taps(config_json.get("backbone_out_indices"), backbone.depth, metadata, count=2 if hybrid else 4),
        channels=(channels[0], channels[1], channels[2], channels[3]),
        features=shapes["neck.convs.0.weight"][0],
        readout="project" if first in shapes else config_json.get("readout_type", "ignore"),
        head="segmentation" if segments else "depth",
        batch_norm="neck.fusion_stage.layers.0.residual_layer1.batch_norm1.weight" in shapes,
        num_classes=shapes["head.head.4.weight"][0] if segments else 0,
        auxiliary="auxiliary_head.head.0.weight" in shapes,
    )


def rules(config: DPTConfig) -> list[Rule]:
    inner = config.backbone_config
    if config.backbone == "hybrid":
        root = (f"{HYBRID}.embedder.convolution", f"{HYBRID}.embedder.norm")
        unit = HYBRID + ".encoder.stages.{stage}.layers.{number}."
        rules = stem(inner.stem, root, unit, ("downsample.conv", "downsample.norm"), group_norm_pair)
        rules = [Rule(r.theirs, tuple(f"backbone.{name}" for name in r.ours), r.steps) for r in rules]
        ours, projection = "backbone.vit.encoder", "dpt.embeddings.projection"
    else:
        rules, ours, projection = [], "backbone.encoder", "dpt.embeddings.patch_embeddings.projection"
    rules += [rename("dpt.embeddings.cls_token", f"{ours}.cls_token")]
    rules += [rename("dpt.embeddings.position_embeddings", f"{ours}.pos_embed.table")]
    rules += rename_both(projection, f"{ours}.patch_embed.proj") + rename_both("dpt.layernorm", f"{ours}.norm")
    for i in range(inner.depth):
        rules += huggingface_layer(f"dpt.encoder.layer.{i}", f"{ours}.blocks.{i}", inner.block)
    rules += neck(config)
    rules += class_head("head.head", "head") if config.head == "segmentation" else depth_head("head.head")
    return rules + (class_head("auxiliary_head.head", "aux_head") if config.auxiliary else [])


def neck(config: DPTConfig) -> list[Rule]:
    """Reassembly and fusion."""
    rules = []
    for index in range(len(config.taps)):
        number = index + 4 - len(config.taps)
        theirs, part = f"neck.reassemble_stage.layers.{number}", f"reassemble.{index}"
        if config.readout == "project":
            rules += rename_both(f"neck.reassemble_stage.readout_projects.{number}.0", f"{part}.readout.0")
        rules += rename_both(f"{theirs}.projection", f"{part}.project")
        rules += rename_both(f"{theirs}.resize", f"{part}.resize") if number != 2 else []
    for level in range(4):
        rules.append(rename(f"neck.convs.{level}.weight", f"narrow.{level}.weight"))
        theirs, part = f"neck.fusion_stage.layers.{3 - level}", f"fuse.{level}"  # theirs begin with the coarsest
        rules += rename_both(f"{theirs}.projection", f"{part}.out")
        for unit, name in (("residual_layer1", "added"), ("residual_layer2", "fused")):
            for n in (1, 2):
                conv = f"{theirs}.{unit}.convolution{n}"
                rules.append(rename(f"{conv}.weight", f"{part}.{name}.conv{n}.weight"))
                rules += [] if config.batch_norm else [rename(f"{conv}.bias", f"{part}.{name}.conv{n}.bias")]
                norm = f"{theirs}.{unit}.batch_norm{n}"
                rules += batch_norm(norm, f"{part}.{name}.norm{n}") if config.batch_norm else []
    return rules


def task(config: DPTConfig) -> str:
    return config.head


def preprocessing(config: DPTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    return from_huggingface(config.image_size, config.in_channels, metadata)
