"""ViT as Hugging Face `transformers` writes it: a folder with `config.json` and, mostly, `preprocessor_config.json`."""

from typing import Any

from saccade.checkpoints.hints import Hints, Shapes, count_layers, image_size, num_heads
from saccade.checkpoints.mapping import Rule, join, rename, rename_both
from saccade.data.preprocessing import Interpolation, Preprocessing, Resize
from saccade.errors import CheckpointError
from saccade.models.vit import ViTConfig
from saccade.nn.transformer import Activation, BlockConfig

NAME = "Hugging Face ViT"
ARCHITECTURE = "vit"
RESAMPLING = "bicubic"

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu",
    "relu": "relu",
}  # fmt: skip
INTERPOLATIONS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers


def matches(names: set[str]) -> bool:
    layer = "vit.encoder.layer.0"
    return {"vit.embeddings.patch_embeddings.projection.weight", f"{layer}.attention.attention.query.weight"} <= names


def infer(shapes: Shapes, hints: Hints) -> ViTConfig:
    """The config: what the JSON does not say is read off the shapes, with the defaults of `ViTConfig` there."""
    told = hints.config
    embed_dim, in_channels, *patch_size = shapes["vit.embeddings.patch_embeddings.projection.weight"]
    depth = count_layers(shapes, "vit.encoder.layer.{}.layernorm_before.weight")
    activation = told.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"the activation {activation!r} is not known here")
    size = told.get("image_size")
    if size is None:
        size = image_size(shapes["vit.embeddings.position_embeddings"][1] - 1, (patch_size[0], patch_size[1]), hints)
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=told.get("num_attention_heads") or num_heads(embed_dim, depth, hints),
        mlp_dim=shapes["vit.encoder.layer.0.intermediate.dense.weight"][0],
        norm_eps=told.get("layer_norm_eps", 1e-12),
        activation=ACTIVATIONS[activation],
        qkv_bias="vit.encoder.layer.0.attention.attention.query.bias" in shapes,
    )
    return ViTConfig(
        block=block,
        depth=depth,
        image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
        patch_size=(patch_size[0], patch_size[1]),
        in_channels=in_channels,
        num_classes=shapes["classifier.weight"][0] if "classifier.weight" in shapes else 0,
    )


def rules(config: ViTConfig) -> list[Rule]:
    embeddings = "vit.embeddings"
    found = [
        rename(f"{embeddings}.cls_token", "encoder.cls_token"),
        rename(f"{embeddings}.position_embeddings", "encoder.pos_embed.table"),
        *rename_both(f"{embeddings}.patch_embeddings.projection", "encoder.patch_embed.proj"),
    ]
    for i in range(config.depth):
        theirs, ours = f"vit.encoder.layer.{i}", f"encoder.blocks.{i}"
        parts = ("weight", "bias") if config.block.qkv_bias else ("weight",)
        qkv = [f"{theirs}.attention.attention.{name}" for name in ("query", "key", "value")]
        found += rename_both(f"{theirs}.layernorm_before", f"{ours}.norm1")
        found += [join([f"{name}.{part}" for name in qkv], f"{ours}.attn.qkv.{part}") for part in parts]
        found += rename_both(f"{theirs}.attention.output.dense", f"{ours}.attn.proj")
        found += rename_both(f"{theirs}.layernorm_after", f"{ours}.norm2")
        found += rename_both(f"{theirs}.intermediate.dense", f"{ours}.mlp.fc1")
        found += rename_both(f"{theirs}.output.dense", f"{ours}.mlp.fc2")
    found += rename_both("vit.layernorm", "encoder.norm")
    found += rename_both("classifier", "head") if config.num_classes else []
    return found


def preprocessing(config: ViTConfig, hints: Hints) -> Preprocessing:
    """What `preprocessor_config.json` says; without it what `ViTImageProcessor` does by default."""
    told: dict[str, Any] = hints.processor
    if not told:
        hints.notes.append("no preprocessor_config.json: the defaults of ViTImageProcessor assumed")
    channels = config.in_channels
    half = (0.5,) * channels
    size = told.get("size") or config.image_size
    resize: Resize = "exact"
    crop_pct = 1.0
    final = config.image_size
    if isinstance(size, dict):
        if told.get("do_center_crop") and "shortest_edge" in size:
            crop = told.get("crop_size") or {"height": final[0], "width": final[1]}
            crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
            final, resize = (crop["height"], crop["width"]), "shortest"
            crop_pct = min(1.0, crop["height"] / size["shortest_edge"])
        else:
            final = (size.get("height", final[0]), size.get("width", final[1]))
    normal = told.get("do_normalize", True)
    return Preprocessing(
        size=final,
        resize=resize,
        crop_pct=crop_pct,
        interpolation=INTERPOLATIONS.get(told.get("resample", 2), "bilinear"),
        channels=channels,
        mean=tuple(told.get("image_mean") or half) if normal else (0.0,) * channels,
        std=tuple(told.get("image_std") or half) if normal else (1.0,) * channels,
    )
