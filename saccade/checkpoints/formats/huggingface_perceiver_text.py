"""Perceiver for masked bytes as Hugging Face `transformers` writes it."""

from typing import Any

from saccade.checkpoints.formats.huggingface_perceiver import cross_rules, latents_of, latents_rules
from saccade.checkpoints.mapping import Rule, rename
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes
from saccade.models.perceiver_text import PerceiverTextConfig

NAME = "Hugging Face Perceiver of texts"
ARCHITECTURE = "perceiver_text"
INPUT, DECODER = "perceiver.input_preprocessor", "perceiver.decoder"
HEADS, KEY_DIM = 8, 256  # of the decoder, whatever the config says


def matches(names: set[str]) -> bool:
    return {"perceiver.embeddings.latents", "embedding_decoder.bias", f"{INPUT}.embeddings.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> PerceiverTextConfig:
    """The config; heads are eight everywhere without a JSON."""
    config_json = metadata.config
    vocab_size, width = shapes[f"{INPUT}.embeddings.weight"]
    latents = latents_of(shapes, metadata, config_json.get("num_blocks", 1), cross_heads=8)
    length = shapes[f"{INPUT}.position_embeddings.weight"][0]
    return PerceiverTextConfig(latents, width, vocab_size, length, HEADS, KEY_DIM)


def rules(config: PerceiverTextConfig) -> list[Rule]:
    return [
        rename(f"{INPUT}.embeddings.weight", "token_embed.weight"),
        rename(f"{INPUT}.position_embeddings.weight", "pos_embed"),
        *latents_rules(config.latents),
        rename(f"{DECODER}.output_position_encodings.position_embeddings", "queries"),
        *cross_rules(f"{DECODER}.decoding_cross_attention", "decoder"),
        rename("embedding_decoder.bias", "output.bias"),
    ]


def task(config: PerceiverTextConfig) -> str:
    return "masked_lm"


def preprocessing(config: PerceiverTextConfig, metadata: CheckpointMetadata) -> None:
    """Texts are not images."""


def describe(config: PerceiverTextConfig) -> dict[str, Any]:
    """The `config.json` of the same network."""
    latents, block = config.latents, config.latents.block
    return {
        "architectures": ["PerceiverForMaskedLM"],
        "model_type": "perceiver",
        "num_latents": latents.count,
        "d_latents": block.embed_dim,
        "d_model": config.width,
        "num_blocks": latents.passes,
        "num_self_attends_per_block": latents.depth,
        "num_self_attention_heads": block.num_heads,
        "num_cross_attention_heads": latents.heads,
        "qk_channels": latents.key_dim,
        "v_channels": latents.value_dim,
        "self_attention_widening_factor": block.mlp_dim // block.embed_dim,
        "cross_attention_widening_factor": 1,
        "attention_probs_dropout_prob": block.attention_dropout,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
    }
