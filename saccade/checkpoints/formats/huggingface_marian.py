"""Marian's translators (OPUS-MT) as Hugging Face `transformers` writes them."""

from torch import Tensor

from saccade.checkpoints.formats.huggingface_vit import activation
from saccade.checkpoints.mapping import Reshape, Rule, join, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.models.seq2seq import Seq2SeqConfig
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face Marian"
ARCHITECTURE = "seq2seq"
# The one table of words stands in files several times; sines and cosines can be computed.
AGAIN = (
    "lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight",
    "model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight",
)  # fmt: skip


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if "model.shared.weight" not in tensors or "final_logits_bias" not in tensors:
        return tensors
    return {name: tensor for name, tensor in tensors.items() if name not in AGAIN}


def matches(names: set[str]) -> bool:
    """BART has norms behind its words, Marian has none."""
    own = {"model.shared.weight", "final_logits_bias", "model.decoder.layers.0.encoder_attn.k_proj.weight"}
    return own <= names and "model.encoder.layernorm_embedding.weight" not in names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> Seq2SeqConfig:
    """The config; without a JSON that of OPUS-MT: eight heads, sentences begin and are filled up with the last word."""
    config_json = metadata.config
    vocab_size, dim = shapes["model.shared.weight"]
    last = vocab_size - 1
    block = BlockConfig(
        dim,
        config_json.get("encoder_attention_heads", 8),
        shapes["model.encoder.layers.0.fc1.weight"][0],
        "post",
        1e-5,
        activation({"hidden_act": config_json.get("activation_function", "swish")}),
        dropout=config_json.get("dropout", 0.1),
        attention_dropout=config_json.get("attention_dropout", 0.0),
    )
    return Seq2SeqConfig(
        block=block,
        encoder_depth=count_layers(shapes, "model.encoder.layers.{}.fc1.weight"),
        decoder_depth=count_layers(shapes, "model.decoder.layers.{}.fc1.weight"),
        vocab_size=vocab_size,
        output_bias=True,
        positions="halves",
        scaled=config_json.get("scale_embedding", True),
        pad=config_json.get("pad_token_id", last),
        begin=config_json.get("decoder_start_token_id", last),
        end=config_json.get("eos_token_id", 0),
        context_length=config_json.get("max_position_embeddings", 512),
    )


def rules(config: Seq2SeqConfig) -> list[Rule]:
    size = config.vocab_size
    rules = [
        rename("model.shared.weight", "token_embed.weight"),
        rename("final_logits_bias", "output.bias", Reshape((1, size), (size,))),
    ]
    for part, depth in (("encoder", config.encoder_depth), ("decoder", config.decoder_depth)):
        for i in range(depth):
            old, new = f"model.{part}.layers.{i}", f"{part}.{i}"
            rules += _attention(f"{old}.self_attn", f"{new}.attn", f"{new}.norm1", packed=True)
            if part == "decoder":
                rules += _attention(f"{old}.encoder_attn", f"{new}.cross_attn", f"{new}.norm_cross", packed=False)
            for theirs, ours in (("fc1", "mlp.fc1"), ("fc2", "mlp.fc2"), ("final_layer_norm", "norm2")):
                rules += rename_both(f"{old}.{theirs}", f"{new}.{ours}")
    return rules


def _attention(theirs: str, ours: str, norm: str, *, packed: bool) -> list[Rule]:
    rules = rename_both(f"{theirs}.out_proj", f"{ours}.proj") + rename_both(f"{theirs}_layer_norm", norm)
    if not packed:
        return rules + [rule for name in "qkv" for rule in rename_both(f"{theirs}.{name}_proj", f"{ours}.{name}")]
    for part in ("weight", "bias"):
        rules.append(join([f"{theirs}.{name}_proj.{part}" for name in "qkv"], f"{ours}.qkv.{part}"))
    return rules


def task(config: Seq2SeqConfig) -> str:
    return "seq2seq"


def preprocessing(config: Seq2SeqConfig, metadata: CheckpointMetadata) -> None:
    """Texts are not images."""
