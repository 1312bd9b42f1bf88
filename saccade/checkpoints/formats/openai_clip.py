"""CLIP as OpenAI writes it, and open_clip after it: one transformer for texts, a ViT or a ResNet for images."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from saccade.checkpoints.blocks import conv_norm
from saccade.checkpoints.mapping import Reshape, Rule, Transpose, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size
from saccade.data.preprocessing import Preprocessing, Resize
from saccade.errors import CheckpointError
from saccade.models.clip import CLIPConfig
from saccade.models.clip_resnet import ClipResNetConfig
from saccade.models.clip_towers import TextConfig
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.mlp import Activation
from saccade.nn.transformer import BlockConfig

NAME = "OpenAI CLIP"
ARCHITECTURE = "clip"
SETTINGS = ("input_resolution", "context_length", "vocab_size")  # numbers among the tensors of OpenAI's archives
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HEAD_WIDTH = 64  # features of a head, in all of OpenAI's models
HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104, 1792: 112}  # width of open_clip's ViT-H, g, bigG and e -> of a head


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the settings that OpenAI's archives hold as tensors."""
    return {name: tensor for name, tensor in tensors.items() if name not in SETTINGS}


def matches(names: set[str]) -> bool:
    return {"visual.conv1.weight", "text_projection", "logit_scale", "transformer.resblocks.0.ln_1.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> CLIPConfig:
    """The config; the JSON next to the file has the activation and the number of heads, otherwise OpenAI's are
    assumed."""
    act, model_cfg = activation(metadata), metadata.config.get("model_cfg") or metadata.config
    vocab_size, width = shapes["token_embedding.weight"]
    depth = count_layers(shapes, "transformer.resblocks.{}.ln_1.weight")
    hidden = shapes["transformer.resblocks.0.mlp.c_fc.weight"][0]
    text_heads = model_cfg.get("text_cfg", {}).get("heads") or width // HEAD_WIDTH
    text = TextConfig(block(width, text_heads, hidden, act), depth, vocab_size, shapes["positional_embedding"][0])
    embed_dim = shapes["text_projection"][1]
    if "visual.proj" not in shapes:
        return CLIPConfig(resnet_tower(shapes, embed_dim), text, embed_dim, "clip_resnet")
    dim, in_channels, *patch = shapes["visual.conv1.weight"]
    mlp_dim = shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"][0]
    backbone = ViTConfig(  # positions as in open_clip: OpenAI's own code runs at one size
        block=block(dim, image_heads(dim, model_cfg, metadata), mlp_dim, act),
        depth=count_layers(shapes, "visual.transformer.resblocks.{}.ln_1.weight"),
        image_size=image_size(shapes["visual.positional_embedding"][0] - 1, (patch[0], patch[1]), metadata),
        patch_size=(patch[0], patch[1]),
        in_channels=in_channels,
        num_classes=0,
        input_norm=True,
        position_resampling="bicubic-antialias",
    )
    return CLIPConfig(backbone, text, embed_dim)


RESIZE_MODES: dict[str, Resize] = {"shortest": "shortest", "squash": "exact"}


OTHER = (
    "put its open_clip_config.json beside the file, or convert it: saccade convert FILE FOLDER --to saccade "
    "--set text.block.activation=…"
)


def activation(metadata: CheckpointMetadata) -> Activation:
    """Of both towers: the caller's for the text tower; by open_clip's JSON next to the file; else GELU for a file of
    open_clip's training, and OpenAI's for others."""
    if "text.block.activation" in metadata.options:
        return metadata.options["text.block.activation"]
    config_json = metadata.config.get("model_cfg") or metadata.config
    if "quick_gelu" in config_json or "vision_cfg" in config_json:
        return "quick_gelu" if config_json.get("quick_gelu") else "gelu"
    if (run := metadata.trainer.get("open_clip")) is not None:
        kind: Activation = "quick_gelu" if "quickgelu" in run.lower() else "gelu"
        metadata.notes.append(
            f"{kind} assumed, from the run {run!r} of open_clip: for a model with the other activation {OTHER}"
        )
        return kind
    metadata.notes.append(
        f"quick_gelu assumed, OpenAI's activation: for a model that open_clip trained with GELU {OTHER}"
    )
    return "quick_gelu"


def image_heads(width: int, model_cfg: Mapping[str, Any], metadata: CheckpointMetadata) -> int:
    """Heads of the image encoder: by `head_width` of open_clip's JSON, by the published widths, else of 64 features."""
    head_width = model_cfg.get("vision_cfg", {}).get("head_width")
    if head_width is None:
        head_width = HEAD_WIDTHS.get(width, HEAD_WIDTH)
        if head_width != HEAD_WIDTH:
            metadata.notes.append(f"{head_width} features a head of the image encoder assumed, as in open_clip")
    return width // head_width


def block(width: int, num_heads: int, hidden: int, act: Activation) -> BlockConfig:
    return BlockConfig(width, max(num_heads, 1), hidden, norm_eps=1e-5, activation=act)


def resnet_tower(shapes: Shapes, embed_dim: int) -> ClipResNetConfig:
    places, channels = shapes["visual.attnpool.positional_embedding"]
    side = round((places - 1) ** 0.5) * 32
    depths = tuple(count_layers(shapes, f"visual.layer{stage}.{{}}.conv1.weight") for stage in (1, 2, 3, 4))
    return ClipResNetConfig(depths, channels // 32, embed_dim, max(channels // 64, 1), (side, side))


def rules(config: CLIPConfig) -> list[Rule]:
    text = config.text
    rules = [
        rename("token_embedding.weight", "text.token_embed.weight"),
        rename("positional_embedding", "text.pos_embed"),
        rename("text_projection", "text_proj.weight", Transpose((1, 0))),
        rename("logit_scale", "logit_scale"),
        *rename_both("ln_final", "text.norm"),
    ]
    rules += blocks("transformer", "text.blocks", text.depth)
    tower = config.backbone_config
    if config.backbone == "clip_resnet":
        return rules + resnet_rules(tower)
    dim = tower.block.embed_dim
    places = 1 + (tower.image_size[0] // tower.patch_size[0]) * (tower.image_size[1] // tower.patch_size[1])
    rules += [
        rename("visual.conv1.weight", "backbone.encoder.patch_embed.proj.weight"),
        rename("visual.class_embedding", "backbone.encoder.cls_token", Reshape((dim,), (1, 1, dim))),
        rename(
            "visual.positional_embedding", "backbone.encoder.pos_embed.table", Reshape((places, dim), (1, places, dim))
        ),
        rename("visual.proj", "image_proj.weight", Transpose((1, 0))),
        *rename_both("visual.ln_pre", "backbone.encoder.input_norm"),
        *rename_both("visual.ln_post", "backbone.encoder.norm"),
    ]
    return rules + blocks("visual.transformer", "backbone.encoder.blocks", tower.depth)


def blocks(theirs: str, ours: str, depth: int) -> list[Rule]:
    rules = []
    for i in range(depth):
        old, new = f"{theirs}.resblocks.{i}", f"{ours}.{i}"
        rules += [rename(f"{old}.attn.in_proj_{part}", f"{new}.attn.qkv.{part}") for part in ("weight", "bias")]
        for layer, part in (
            ("attn.out_proj", "attn.proj"), ("ln_1", "norm1"), ("ln_2", "norm2"), ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
        ):  # fmt: skip
            rules += rename_both(f"{old}.{layer}", f"{new}.{part}")
    return rules


def resnet_rules(config: ClipResNetConfig) -> list[Rule]:
    rules = []
    for i in (1, 2, 3):
        rules += conv_norm(f"visual.conv{i}", f"visual.bn{i}", f"backbone.stem.{i - 1}")
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            old, new = f"visual.layer{stage + 1}.{number}", f"backbone.stages.{stage}.{number}"
            for i in (1, 2, 3):
                rules += conv_norm(f"{old}.conv{i}", f"{old}.bn{i}", f"{new}.conv{i}")
            if number == 0:
                rules += conv_norm(f"{old}.downsample.0", f"{old}.downsample.1", f"{new}.shortcut.1")
    dim, places = 32 * config.width, 1 + (config.image_size[0] // 32) * (config.image_size[1] // 32)
    pool = "visual.attnpool"
    rules += [
        rename(
            f"{pool}.positional_embedding", "backbone.pool.pos_embed", Reshape((places, dim), (1, places, dim))
        ),
        *(rule for name in "qkv" for rule in rename_both(f"{pool}.{name}_proj", f"backbone.pool.attn.{name}")),
        *rename_both(f"{pool}.c_proj", "backbone.pool.attn.proj"),
    ]  # fmt: skip
    return rules


def unsupported(config: CLIPConfig) -> dict[str, str]:
    """Options whose value the project's CLIP does not have, and what it has."""
    return {} if config.objective == "softmax" else {"objective": "softmax"}


def task(config: CLIPConfig) -> str:
    return "contrastive"


def preprocessing(config: CLIPConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """The shorter side to the size, the middle of the rest, and OpenAI's statistics, unless open_clip's JSON has
    others."""
    described = metadata.config.get("preprocess_cfg") or {}
    mode = described.get("resize_mode", "shortest")
    if mode not in RESIZE_MODES:
        raise CheckpointError(f"the resize_mode {mode!r} of open_clip_config.json is not supported")
    return Preprocessing(
        config.image_size,
        RESIZE_MODES[mode],
        1.0,
        described.get("interpolation", "bicubic"),
        mean=tuple(described.get("mean", MEAN)),
        std=tuple(described.get("std", STD)),
    )
