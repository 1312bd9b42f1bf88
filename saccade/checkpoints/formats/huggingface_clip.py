"""CLIP as Hugging Face `transformers` writes it."""

from typing import Any

from saccade.checkpoints.formats.huggingface_vit import ACTIVATIONS, activation
from saccade.checkpoints.formats.openai_clip import MEAN, STD
from saccade.checkpoints.mapping import Reshape, Rule, join, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size
from saccade.checkpoints.processors import from_clip_processor, target_size
from saccade.data.preprocessing import Preprocessing
from saccade.models.clip import CLIPConfig
from saccade.models.clip_towers import TextConfig
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face CLIP"
ARCHITECTURE = "clip"
TEXT, VISION = "text_model", "vision_model"


def matches(names: set[str]) -> bool:
    return {"text_projection.weight", "visual_projection.weight", "vision_model.pre_layrnorm.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> CLIPConfig:
    """The config; without a JSON heads have 64 features and the activation is OpenAI's."""
    vocab_size, width = shapes[f"{TEXT}.embeddings.token_embedding.weight"]
    dim, in_channels, *patch = shapes[f"{VISION}.embeddings.patch_embedding.weight"]
    text = TextConfig(
        block(shapes, TEXT, width, metadata.config.get("text_config") or {}),
        count_layers(shapes, TEXT + ".encoder.layers.{}.layer_norm1.weight"),
        vocab_size,
        shapes[f"{TEXT}.embeddings.position_embedding.weight"][0],
    )
    backbone = ViTConfig(
        block=block(shapes, VISION, dim, metadata.config.get("vision_config") or {}),
        depth=count_layers(shapes, VISION + ".encoder.layers.{}.layer_norm1.weight"),
        image_size=image_size(
            shapes[f"{VISION}.embeddings.position_embedding.weight"][0] - 1, (patch[0], patch[1]), metadata
        ),
        patch_size=(patch[0], patch[1]),
        in_channels=in_channels,
        num_classes=0,
        input_norm=True,
        position_resampling="bicubic",
    )
    return CLIPConfig(backbone, text, shapes["text_projection.weight"][0])


def block(shapes: Shapes, tower: str, width: int, config_json: dict[str, Any]) -> BlockConfig:
    """A block of one tower; what its config does not state is OpenAI's."""
    return BlockConfig(
        width,
        config_json.get("num_attention_heads") or max(width // 64, 1),
        shapes[f"{tower}.encoder.layers.0.mlp.fc1.weight"][0],
        norm_eps=config_json.get("layer_norm_eps", 1e-5),
        activation=activation({"hidden_act": config_json.get("hidden_act", "quick_gelu")}),
    )


def rules(config: CLIPConfig) -> list[Rule]:
    tower = config.backbone_config
    dim = tower.block.embed_dim
    places = 1 + (tower.image_size[0] // tower.patch_size[0]) * (tower.image_size[1] // tower.patch_size[1])
    rules = [
        rename("logit_scale", "logit_scale"),
        rename("text_projection.weight", "text_proj.weight"),
        rename("visual_projection.weight", "image_proj.weight"),
        rename(f"{TEXT}.embeddings.token_embedding.weight", "text.token_embed.weight"),
        rename(f"{TEXT}.embeddings.position_embedding.weight", "text.pos_embed"),
        *rename_both(f"{TEXT}.final_layer_norm", "text.norm"),
        rename(f"{VISION}.embeddings.patch_embedding.weight", "backbone.encoder.patch_embed.proj.weight"),
        rename(f"{VISION}.embeddings.class_embedding", "backbone.encoder.cls_token", Reshape((dim,), (1, 1, dim))),
        rename(
            f"{VISION}.embeddings.position_embedding.weight", "backbone.encoder.pos_embed.table",
            Reshape((places, dim), (1, places, dim)),
        ),
        *rename_both(f"{VISION}.pre_layrnorm", "backbone.encoder.input_norm"),
        *rename_both(f"{VISION}.post_layernorm", "backbone.encoder.norm"),
    ]  # fmt: skip
    rules += layers(TEXT, "text.blocks", config.text.depth)
    return rules + layers(VISION, "backbone.encoder.blocks", tower.depth)


def layers(tower: str, ours: str, depth: int) -> list[Rule]:
    """The blocks of one tower."""
    rules = []
    for i in range(depth):
        old, new = f"{tower}.encoder.layers.{i}", f"{ours}.{i}"
        for part in ("weight", "bias"):
            rules.append(join([f"{old}.self_attn.{name}_proj.{part}" for name in "qkv"], f"{new}.attn.qkv.{part}"))
        for layer, part in (
            ("self_attn.out_proj", "attn.proj"), ("layer_norm1", "norm1"), ("layer_norm2", "norm2"),
            ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2"),
        ):  # fmt: skip
            rules += rename_both(f"{old}.{layer}", f"{new}.{part}")
    return rules


def describe(config: CLIPConfig) -> dict[str, Any]:
    """The `config.json` of the same network."""
    text, tower = config.text, config.backbone_config
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "text_config": {
            **described(text.block, text.depth), "vocab_size": text.vocab_size, "projection_dim": config.embed_dim,
            "max_position_embeddings": text.context_length, "bos_token_id": text.vocab_size - 2,
            "eos_token_id": text.vocab_size - 1,
        },
        "vision_config": {
            **described(tower.block, tower.depth), "image_size": tower.image_size[0],
            "patch_size": tower.patch_size[0], "num_channels": tower.in_channels, "projection_dim": config.embed_dim,
        },
    }  # fmt: skip


def described(block: BlockConfig, depth: int) -> dict[str, Any]:
    """One tower in a `config.json`."""
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    return {
        "hidden_size": block.embed_dim,
        "intermediate_size": block.mlp_dim,
        "num_hidden_layers": depth,
        "num_attention_heads": block.num_heads,
        "hidden_act": names.get(block.activation, block.activation),
        "layer_norm_eps": block.norm_eps,
    }


def task(config: CLIPConfig) -> str:
    return "contrastive"


def preprocessing(config: CLIPConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """From `preprocessor_config.json`; without it OpenAI's."""
    processor, size = metadata.processor, config.image_size
    target = target_size(processor, size) if processor else (size, "shortest", 1.0)
    return from_clip_processor(target, processor, MEAN, STD)
