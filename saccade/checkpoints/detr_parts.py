"""Rules shared by Meta's and Hugging Face's DETR files: the backbone behind a prefix, the box head, the mask head."""

from dataclasses import replace

from saccade.checkpoints.mapping import Rule, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata
from saccade.models.resnet import ResNetConfig


def backbone_rules(rules: list[Rule], prefix: str) -> list[Rule]:
    """The rules of a classifier for the backbone in a detector, whose frozen batch norms have no counters."""
    return [
        Rule(tuple(prefix + name for name in rule.theirs), tuple(f"backbone.{name}" for name in rule.ours), rule.steps)
        for rule in rules
        if not rule.ours[0].endswith("num_batches_tracked")
    ]


def dilated(backbone: ResNetConfig, metadata: CheckpointMetadata) -> ResNetConfig:
    """The backbone with frozen norms and, where the file's name or config has it, a dilated last stage (DC5)."""
    backbone_json = metadata.config.get("backbone")
    flags = (
        "dc5" in metadata.file_name,
        metadata.config.get("dilation"),
        isinstance(backbone_json, dict) and backbone_json.get("dilated_last_stage"),
        metadata.options.get("backbone_config.dilated"),
    )
    far = any(flags)
    return replace(backbone, frozen_norm=True, dilated=far, num_classes=0, image_size=metadata.size((800, 1066)))


def num_heads(dim: int, metadata: CheckpointMetadata) -> int:
    """Packed weights do not determine the number of heads: the caller's, the config's, otherwise 32 features each, as
    published."""
    heads = metadata.options.get("block.num_heads")
    heads = heads or metadata.config.get("nheads") or metadata.config.get("encoder_attention_heads")
    if heads is None:
        metadata.notes.append(f"{max(dim // 32, 1)} heads assumed, of 32 features each")
    return heads or max(dim // 32, 1)


def box_head(theirs: str) -> list[Rule]:
    """Three layers with nonlinearities between."""
    return [rule for i in range(3) for rule in rename_both(f"{theirs}.layers.{i}", f"bbox_embed.{2 * i}")]


def mask_head(attention: str, head: str) -> list[Rule]:
    """The mask head of a detector."""
    rules = rename_both(f"{attention}.q_linear", "bbox_attention.q")
    rules += rename_both(f"{attention}.k_linear", "bbox_attention.k")
    for number, ours in enumerate(("first", "second", "refine.0", "refine.1", "refine.2"), 1):
        rules += rename_both(f"{head}.lay{number}", f"mask_head.{ours}.0")
        rules += rename_both(f"{head}.gn{number}", f"mask_head.{ours}.1")
    for number in (1, 2, 3):
        rules += rename_both(f"{head}.adapter{number}", f"mask_head.adapters.{number - 1}")
    return rules + rename_both(f"{head}.out_lay", "mask_head.out")
