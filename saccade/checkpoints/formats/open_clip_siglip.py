"""SigLIP and SigLIP 2 as open_clip writes them: an image tower of timm, open_clip's text transformer behind it."""

from dataclasses import replace
from typing import Any

from saccade.checkpoints.formats import timm_vit
from saccade.checkpoints.formats.openai_clip import blocks
from saccade.checkpoints.mapping import Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import HALF
from saccade.data.preprocessing import Preprocessing, Resize
from saccade.errors import CheckpointError
from saccade.models.clip import CLIPConfig
from saccade.models.clip_towers import TextConfig
from saccade.nn.mlp import Activation
from saccade.nn.transformer import BlockConfig

NAME = "open_clip SigLIP"
ARCHITECTURE = "clip"
TRUNK = "visual.trunk."
HEADS = {1152: 16}  # of So400m; others have heads of 64 features


def matches(names: set[str]) -> bool:
    return {
        "logit_bias",
        f"{TRUNK}attn_pool.latent",
        "text.positional_embedding",
        "text.transformer.resblocks.0.ln_1.weight",
    } <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> CLIPConfig:
    """The config; without a JSON heads and activation are those of Google's models."""
    model_cfg: dict[str, Any] = metadata.config.get("model_cfg") or metadata.config
    text_cfg, vision_cfg = model_cfg.get("text_cfg") or {}, model_cfg.get("vision_cfg") or {}
    if text_cfg and not (text_cfg.get("no_causal_mask") and text_cfg.get("pool_type") == "last"):
        raise CheckpointError("a text tower that is causal or not pooled at its last token is not supported here")
    vocab_size, width = shapes["text.token_embedding.weight"]
    text = TextConfig(
        BlockConfig(
            width,
            text_cfg.get("heads") or HEADS.get(width, max(width // 64, 1)),
            shapes["text.transformer.resblocks.0.mlp.c_fc.weight"][0],
            norm_eps=(text_cfg.get("norm_kwargs") or {}).get("eps", 1e-5 if text_cfg else 1e-6),
            activation=_activation(text_cfg, metadata),
        ),
        count_layers(shapes, "text.transformer.resblocks.{}.ln_1.weight"),
        vocab_size,
        shapes["text.positional_embedding"][0],
        pooling="last",
        causal=False,
    )
    trunk = {name.removeprefix(TRUNK): shape for name, shape in shapes.items() if name.startswith(TRUNK)}
    side = vision_cfg.get("image_size")
    timm_config = {
        "architecture": vision_cfg.get("timm_model_name", ""),
        "model_args": vision_cfg.get("timm_model_kwargs") or ({} if vision_cfg else {"act_layer": "gelu_tanh"}),
        "pretrained_cfg": {"input_size": [3, side, side]} if isinstance(side, int) else {},
    }
    backbone = timm_vit.infer(trunk, replace(metadata, config=timm_config, options={}))
    return CLIPConfig(
        replace(backbone, position_resampling="bicubic-antialias"),  # timm's
        text,
        backbone.block.embed_dim,
        objective="sigmoid",
        image_projection=False,
        text_projection="affine" if "text.text_projection.weight" in shapes else "none",
    )


def _activation(text_cfg: dict[str, Any], metadata: CheckpointMetadata) -> Activation:
    """Of the text tower: open_clip has GELU itself for SigLIP, and its approximation by tanh for SigLIP 2."""
    if text_cfg:
        return "gelu_tanh" if (text_cfg.get("act_kwargs") or {}).get("approximate") == "tanh" else "gelu"
    metadata.notes.append("no open_clip_config.json: the tanh approximation of GELU assumed, as in Google's training")
    return "gelu_tanh"


def rules(config: CLIPConfig) -> list[Rule]:
    tower = timm_vit.rules(config.backbone_config)
    rules = [
        *(
            replace(
                rule,
                theirs=tuple(TRUNK + name for name in rule.theirs),
                ours=tuple(f"backbone.{name}" for name in rule.ours),
            )
            for rule in tower
        ),
        rename("logit_scale", "logit_scale"),
        rename("logit_bias", "logit_bias"),
        rename("text.token_embedding.weight", "text.token_embed.weight"),
        rename("text.positional_embedding", "text.pos_embed"),
        *rename_both("text.ln_final", "text.norm"),
    ]
    rules += rename_both("text.text_projection", "text_proj") if config.text_projection == "affine" else []
    return rules + blocks("text.transformer", "text.blocks", config.text.depth)


def task(config: CLIPConfig) -> str:
    return "contrastive"


def preprocessing(config: CLIPConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From open_clip's `preprocess_cfg`; without it the whole image, stretched to the model's size, in -1 … 1."""
    stored: dict[str, Any] = metadata.config.get("preprocess_cfg") or {}
    modes: dict[str, Resize] = {"squash": "exact", "shortest": "shortest", "longest": "pad"}
    mode = stored.get("resize_mode") or "squash"
    if mode not in modes:
        raise CheckpointError(f"the resize_mode of open_clip_config.json is {mode!r}, not one of {', '.join(modes)}")
    return Preprocessing(
        config.image_size,
        resize=modes[mode],
        crop_pct=1.0,
        interpolation=stored.get("interpolation") or "bicubic",
        mean=tuple(stored.get("mean") or HALF),
        std=tuple(stored.get("std") or HALF),
    )
