"""Hints for names of models and arguments that other libraries use. Nothing here loads torch."""

import re
from collections.abc import Iterable

from saccade.models.catalogue import ZOO

SIZES = {
    "tiny": "ti", "small": "s", "base": "b", "large": "l", "huge": "h", "giant": "g", "gigantic": "bigg",
    "so400m": "so",
}  # fmt: skip
# Pattern of another library's name -> name here; groups 1 and 2 are a size and a number.
PATTERNS = (
    (r"vit_(tiny)_r_s16_p8", "hybrid_r_ti16"),
    (r"vit_small_r26_s32", "hybrid_r26_s32"),
    (r"vit_base_r50_s16", "hybrid_r50_b16"),
    (r"vit_large_r50_s32", "hybrid_r50_l32"),
    (r"vit_(small|base|large|7b)_patch16_dinov3", "dinov3_{}16"),
    (r"vit_(small|huge)_plus_patch16_dinov3", "dinov3_{}16plus"),
    (r"dinov3[-_]vit([sbl]|7b)16(?!plus)", "dinov3_{}16"),
    (r"dinov3[-_]vit([sh])16plus", "dinov3_{}16plus"),
    (r"dinov3[-_]convnext[-_](tiny|small|base|large)", "convnext_{}"),
    (r"dinov2[-_](?:with[-_]registers[-_])?(small|base|large|giant)", "dinov2_{}14"),
    (r"dinov2_vit([sblg])14", "dinov2_{}14"),
    (r"vit_(\w+?)_patch14(?:_reg4)?_dinov2", "dinov2_{}14"),
    (r"vit_(\w+?)_patch(\d+)", "vit_{}{}"),
    (r"(?:vit-|vit_)(\w+?)-patch(\d+)", "vit_{}{}"),
    (r"deit3?_(\w+?)_(?:distilled_)?patch(\d+)", "deit_{}{}"),
    (r"deit-(\w+?)-(?:distilled-)?patch(\d+)", "deit_{}{}"),
    (r"vit_(\w)_(\d+)$", "vit_{}{}"),  # torchvision
    (r"clip-vit-(\w+)-patch(\d+)", "clip_vit_{}{}"),
    (r"vit-([bl])[-/](\d+)", "clip_vit_{}{}"),  # OpenAI and open_clip
    (r"mae_vit_(\w+?)_patch(\d+)", "mae_{}{}"),
    (r"vit-mae-(\w+)", "mae_{}16"),
    (r"convnextv?2?[_-](tiny|small|base|large)", "convnext_{}"),
    (r"resnetv2_(\d+)x(\d+)_bit", "bit_r{}x{}"),
    (r"resnet-?(\d+)", "resnet{}"),
    (r"detr[_-]resnet-?(\d+)(-dc5)?", "detr_r{}"),
    (r"wide_resnet(\d+)_(\d)", "wide_resnet{}_{}"),
    (r"dpt[_-](large|base|small|tiny)", "dpt_{}"),
    (r"depth[-_]anything[-_]v2(?:[-_]metric[-_]\w+)?[-_](?:vit)?(small|base|large|[sbl])\b", "depth_anything_v2_{}"),
    (r"bert-(base|large)", "bert_{}"),
)
# Who publishes what opens here: ORG/NAME of others may be a path.
PUBLISHERS = (
    "google", "google-bert", "facebook", "openai", "timm", "microsoft", "apple", "laion", "intel", "deepmind",
    "helsinki-nlp", "nateraw", "depth-anything",
)  # fmt: skip
HUB_NAME = re.compile(rf"(?:{'|'.join(PUBLISHERS)})/[\w.-]+", re.IGNORECASE)
# Argument of timm, torchvision or transformers -> what it is here.
ARGUMENTS = {
    "img_size": "image_size", "input_size": "image_size", "in_chans": "in_channels", "num_channels": "in_channels",
    "num_labels": "num_classes", "n_classes": "num_classes",
    "drop_path_rate": "options={'drop_path': …}", "drop_rate": "options={'block.dropout': …}",
    "attn_drop_rate": "options={'block.attention_dropout': …}", "patch_size": "options={'patch_size': (p, q)}",
    "embed_dim": "options={'block.embed_dim': …}", "depth": "options={'depth': …}",
    "num_heads": "options={'block.num_heads': …}", "global_pool": "options={'pooling': …}",
    "init_values": "options={'block.layer_scale': …}",
    "pretrained": "saccade.load, which opens published weights: saccade.load('hub:ORG/NAME')",
    "weights": "saccade.load, which opens published weights: saccade.load('hub:ORG/NAME')",
    "checkpoint_path": "saccade.load(path)", "features_only": "model.features(images)",
    "id2label": "labels of saccade.load", "device_map": "device",
}  # fmt: skip


def name_here(name: str) -> str | None:
    """The catalogue's name of a model, from its name in timm, torchvision, open_clip or on the hub; None if the
    catalogue does not have it."""
    plain = name.rpartition("/")[2] if HUB_NAME.fullmatch(name) else name
    plain = plain.partition(".")[0].lower()  # without timm's tag
    if plain in ZOO:
        return plain
    for pattern, here in PATTERNS:
        match = re.match(pattern, plain)
        if match is None:
            continue
        groups = [SIZES.get(group, group) for group in match.groups("") if group is not None]
        candidate = here.format(*groups)
        candidate = candidate.replace("convnext_ti", "convnext_t")
        if candidate in ZOO:
            return candidate
    return None


def name_hint(name: str) -> str:
    """A hint on what to use in place of another library's name; "" if it does not resemble one."""
    here = name_here(name)
    hub = f"saccade.load('hub:{name}') opens it from the Hugging Face hub" if HUB_NAME.fullmatch(name) else ""
    fresh = f"{here} is that network with fresh weights" if here else ""
    timm = "saccade.load('hub:timm/NAME.TAG') opens timm's weights" if here and "_patch" in name and not hub else ""
    return "; ".join(part for part in (hub, fresh, timm) if part)


def argument_error(function: str, names: Iterable[str]) -> TypeError:
    """The error for unknown arguments of a function, with their names in this package."""
    hints = [f"{name} (here: {ARGUMENTS[name]})" if name in ARGUMENTS else name for name in names]
    return TypeError(f"{function}() has no argument {', '.join(hints)}")
