"""BERT as Hugging Face `transformers` writes it: the encoder alone, or with the heads of its pre-training."""

from typing import Any

from torch import Tensor

from saccade.checkpoints.formats.huggingface_vit import ACTIVATIONS, activation
from saccade.checkpoints.mapping import Rule, join, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.models.bert import BertConfig
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face BERT"
ARCHITECTURE = "bert"
WORDS = "bert.embeddings.word_embeddings.weight"
TRANSFORM = "cls.predictions.transform.dense.weight"
# The table of words turned round, which stands in files a second time; and numbers from 0 to 511.
TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "bert.embeddings.position_ids")


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """An encoder alone has no prefix; the first files called the parts of a norm gamma and beta."""
    alone = WORDS.removeprefix("bert.") in tensors
    named = {f"bert.{name}" if alone else name: tensor for name, tensor in tensors.items()}
    renamed = {n.replace(".gamma", ".weight").replace(".beta", ".bias"): t for n, t in named.items()}
    return {name: tensor for name, tensor in renamed.items() if name not in TIED} if WORDS in renamed else tensors


def matches(names: set[str]) -> bool:
    return {WORDS, "bert.encoder.layer.0.attention.self.query.weight"} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> BertConfig:
    """The config; without a JSON heads have 64 features."""
    config_json = metadata.config
    vocab_size, dim = shapes[WORDS]
    block = BlockConfig(
        dim,
        config_json.get("num_attention_heads") or max(dim // 64, 1),
        shapes["bert.encoder.layer.0.intermediate.dense.weight"][0],
        "post",
        config_json.get("layer_norm_eps", 1e-12),
        activation({"hidden_act": config_json.get("hidden_act", "gelu")}),
        dropout=config_json.get("hidden_dropout_prob", 0.1),
        attention_dropout=config_json.get("attention_probs_dropout_prob", 0.1),
    )
    return BertConfig(
        block,
        count_layers(shapes, "bert.encoder.layer.{}.attention.self.query.weight"),
        vocab_size,
        shapes["bert.embeddings.position_embeddings.weight"][0],
        shapes["bert.embeddings.token_type_embeddings.weight"][0],
        pooler="bert.pooler.dense.weight" in shapes,
        masked_lm=TRANSFORM in shapes,
        next_sentence="cls.seq_relationship.weight" in shapes,
    )


def rules(config: BertConfig) -> list[Rule]:
    rules = [
        rename(WORDS, "token_embed.weight"),
        rename("bert.embeddings.position_embeddings.weight", "pos_embed"),
        rename("bert.embeddings.token_type_embeddings.weight", "type_embed.weight"),
        *rename_both("bert.embeddings.LayerNorm", "embed_norm"),
    ]
    for i in range(config.depth):
        old, new = f"bert.encoder.layer.{i}", f"encoder.{i}"
        for part in ("weight", "bias"):
            names = [f"{old}.attention.self.{name}.{part}" for name in ("query", "key", "value")]
            rules.append(join(names, f"{new}.attn.qkv.{part}"))
        for theirs, ours in (
            ("attention.output.dense", "attn.proj"), ("attention.output.LayerNorm", "norm1"),
            ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"), ("output.LayerNorm", "norm2"),
        ):  # fmt: skip
            rules += rename_both(f"{old}.{theirs}", f"{new}.{ours}")
    if config.pooler:
        rules += rename_both("bert.pooler.dense", "pooler")
    if config.masked_lm:
        rules += rename_both("cls.predictions.transform.dense", "word_head.transform")
        rules += rename_both("cls.predictions.transform.LayerNorm", "word_head.norm")
        rules.append(rename("cls.predictions.bias", "word_head.decoder.bias"))
    if config.next_sentence:
        rules += rename_both("cls.seq_relationship", "next_head")
    return rules


def task(config: BertConfig) -> str:
    return "masked_lm"


def preprocessing(config: BertConfig, metadata: CheckpointMetadata) -> None:
    """Texts are not images."""


def describe(config: BertConfig) -> dict[str, Any]:
    """The `config.json` of the same network."""
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    kind = "BertForPreTraining" if config.next_sentence else "BertForMaskedLM" if config.masked_lm else "BertModel"
    return {
        "architectures": [kind],
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.block.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.block.num_heads,
        "intermediate_size": config.block.mlp_dim,
        "hidden_act": names.get(config.block.activation, config.block.activation),
        "hidden_dropout_prob": config.block.dropout,
        "attention_probs_dropout_prob": config.block.attention_dropout,
        "max_position_embeddings": config.context_length,
        "type_vocab_size": config.token_types,
        "layer_norm_eps": config.block.norm_eps,
    }
