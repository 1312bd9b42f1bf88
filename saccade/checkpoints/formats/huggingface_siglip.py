"""SigLIP and SigLIP 2 as Hugging Face `transformers` writes them, also NaFlex (arXiv 2303.15343, 2502.14786).

SigLIP 2 of a fixed resolution has the names of SigLIP. NaFlex embeds patches by a linear map of their pixels, and
resamples positions in its own way; its images keep their aspect ratio there, and are squares of as many patches here.
"""

from typing import Any

from saccade.checkpoints.formats.huggingface_clip import block, described, layers
from saccade.checkpoints.mapping import Reshape, Rule, Transpose, rename, rename_both, split
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size
from saccade.checkpoints.processors import HALF, from_clip_processor, target_size
from saccade.data.preprocessing import Preprocessing, Resize
from saccade.errors import CheckpointError
from saccade.models.clip import CLIPConfig
from saccade.models.clip_towers import TextConfig
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face SigLIP"
ARCHITECTURE = "clip"
TEXT, VISION, POOL = "text_model", "vision_model", "vision_model.head"
HEADS = {1152: 16, 1536: 16}  # of So400m and the giant; others have heads of 64 features


def matches(names: set[str]) -> bool:
    return {"logit_bias", f"{TEXT}.head.weight", f"{POOL}.probe"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> CLIPConfig:
    """The config; without a JSON heads and activation are those of Google's models."""
    text_json, vision_json = (metadata.config.get(f"{tower}_config") or {} for tower in ("text", "vision"))
    vocab_size, width = shapes[f"{TEXT}.embeddings.token_embedding.weight"]
    text = TextConfig(
        _block(shapes, TEXT, width, text_json),
        count_layers(shapes, TEXT + ".encoder.layers.{}.layer_norm1.weight"),
        vocab_size,
        shapes[f"{TEXT}.embeddings.position_embedding.weight"][0],
        pooling="last",
        causal=False,
    )
    dim, *kernel = shapes[f"{VISION}.embeddings.patch_embedding.weight"]
    naflex = len(kernel) == 1
    if naflex:  # [D, p * p * C]
        in_channels = vision_json.get("num_channels", 3)
        side = round((kernel[0] / in_channels) ** 0.5)
        if side * side * in_channels != kernel[0]:
            raise CheckpointError(f"{kernel[0]} pixels of a patch are no square of {in_channels} channels")
        patch = (side, side)
    else:
        in_channels, *sides = kernel
        patch = (sides[0], sides[1])
    places = shapes[f"{VISION}.embeddings.position_embedding.weight"][0]
    size = image_size(places, patch, metadata)
    stated = vision_json.get("image_size")
    if isinstance(stated, int) and metadata.image_size is None and (stated // patch[0], stated // patch[1]) == (
        size[0] // patch[0], size[1] // patch[1],
    ):  # fmt: skip
        size = (stated, stated)
    backbone = ViTConfig(
        block=_block(shapes, VISION, dim, vision_json),
        depth=count_layers(shapes, VISION + ".encoder.layers.{}.layer_norm1.weight"),
        image_size=size,
        patch_size=patch,
        in_channels=in_channels,
        num_classes=0,
        class_token=False,
        prefix_positions=0,
        pooling="attention",
        crop=bool(size[0] % patch[0] or size[1] % patch[1]),
        position_resampling="bilinear-antialias" if naflex else "bicubic",
    )
    embed_dim = shapes[f"{TEXT}.head.weight"][0]
    return CLIPConfig(backbone, text, embed_dim, objective="sigmoid", image_projection=False, text_projection="affine")


def _block(shapes: Shapes, tower: str, width: int, config_json: dict[str, Any]) -> BlockConfig:
    default = {"num_attention_heads": HEADS.get(width), "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
    return block(shapes, tower, width, {**default, **config_json})


def rules(config: CLIPConfig) -> list[Rule]:
    tower = config.backbone_config
    dim, (p, q), channels = tower.block.embed_dim, tower.patch_size, tower.in_channels
    places = (tower.image_size[0] // p) * (tower.image_size[1] // q)
    pixels = (Reshape((dim, p * q * channels), (dim, p, q, channels)), Transpose((0, 3, 1, 2)))
    patches, encoder, pool = f"{VISION}.embeddings.patch_embedding", "backbone.encoder", "backbone.pool"
    rules = [
        rename("logit_scale", "logit_scale", Reshape((1,), ())),
        rename("logit_bias", "logit_bias", Reshape((1,), ())),
        *rename_both(f"{TEXT}.head", "text_proj"),
        rename(f"{TEXT}.embeddings.token_embedding.weight", "text.token_embed.weight"),
        rename(f"{TEXT}.embeddings.position_embedding.weight", "text.pos_embed"),
        *rename_both(f"{TEXT}.final_layer_norm", "text.norm"),
        rename(f"{patches}.weight", f"{encoder}.patch_embed.proj.weight", *(pixels if is_naflex(config) else ())),
        rename(f"{patches}.bias", f"{encoder}.patch_embed.proj.bias"),
        rename(
            f"{VISION}.embeddings.position_embedding.weight", f"{encoder}.pos_embed.table",
            Reshape((places, dim), (1, places, dim)),
        ),
        *rename_both(f"{VISION}.post_layernorm", f"{encoder}.norm"),
        rename(f"{POOL}.probe", f"{pool}.query"),
        *rename_both(f"{POOL}.attention.out_proj", f"{pool}.attn.proj"),
        *rename_both(f"{POOL}.layernorm", f"{pool}.norm"),
        *rename_both(f"{POOL}.mlp.fc1", f"{pool}.mlp.fc1"),
        *rename_both(f"{POOL}.mlp.fc2", f"{pool}.mlp.fc2"),
    ]  # fmt: skip
    for part in ("weight", "bias"):
        rules += [split(f"{POOL}.attention.in_proj_{part}", [f"{pool}.attn.{name}.{part}" for name in "qkv"])]
    rules += layers(TEXT, "text.blocks", config.text.depth)
    return rules + layers(VISION, f"{encoder}.blocks", tower.depth)


def is_naflex(config: CLIPConfig) -> bool:
    """Whether a config is of NaFlex, whose positions alone are resampled so."""
    return config.backbone_config.position_resampling == "bilinear-antialias"


def describe(config: CLIPConfig) -> dict[str, Any]:
    """The `config.json` of the same network."""
    text, tower, name = config.text, config.backbone_config, "siglip2" if is_naflex(config) else "siglip"
    vision = {
        **described(tower.block, tower.depth), "patch_size": tower.patch_size[0], "num_channels": tower.in_channels,
    }  # fmt: skip
    if is_naflex(config):
        vision["num_patches"] = (tower.image_size[0] // tower.patch_size[0]) * (
            tower.image_size[1] // tower.patch_size[1]
        )
    else:
        vision["image_size"] = tower.image_size[0]
    return {
        "architectures": [f"{name.capitalize()}Model"],
        "model_type": name,
        "text_config": {
            **described(text.block, text.depth), "model_type": f"{name}_text_model", "vocab_size": text.vocab_size,
            "max_position_embeddings": text.context_length, "projection_size": config.embed_dim,
            "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 1,
        },
        "vision_config": {**vision, "model_type": f"{name}_vision_model"},
    }  # fmt: skip


def unsupported(config: CLIPConfig) -> dict[str, str]:
    """Options whose value the library's SigLIP does not have, and what it has."""
    options = {"objective": "sigmoid", "image_projection": False, "text_projection": "affine"}
    lacking = {name: str(value) for name, value in options.items() if getattr(config, name) != value}
    lacking |= {} if config.text.pooling == "last" else {"text.pooling": "last"}
    return lacking | ({"text.causal": "False"} if config.text.causal else {})


def task(config: CLIPConfig) -> str:
    return "contrastive"


def preprocessing(config: CLIPConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From `preprocessor_config.json`; without it the whole image, stretched to the model's size, in -1 … 1."""
    processor = metadata.processor
    target: tuple[tuple[int, int], Resize, float] = (config.image_size, "exact", 1.0)
    if is_naflex(config):
        metadata.notes.append("NaFlex keeps the aspect ratio of an image: here it is stretched to a square")
    elif processor:
        target = target_size(processor, config.image_size)
    return from_clip_processor(target, processor, HALF, HALF)
