"""The original Transformer for sequence to sequence (Vaswani et al., arXiv 1706.03762).

Every token of the source attends to every other; a token of the target attends to those before it and to the source.

B texts, L and M tokens of source and target, D width, V tokens of the vocabulary.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from saccade.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from saccade.models.model import AttentionStreams, LayerGroups, TextInput, block_groups, example_tokens
from saccade.nn.attention import xavier_uniform, zero_biases
from saccade.nn.generation import EncoderOutput
from saccade.nn.masks import padding_mask
from saccade.nn.transformer import BlockConfig, Encoder


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig(TextInput, EncoderDecoderConfig):
    """An encoder and a decoder with the same kind of blocks and one vocabulary.

    Attributes:
        encoder_depth: number of blocks.
    """

    encoder_depth: int = 6


class Seq2Seq(EncoderDecoder):
    """``net(source [B, L], target [B, M])`` -> logits of the next token after each of the target, ``[B, M, V]``.

    Padding tokens of the source are masked.
    """

    config: Seq2SeqConfig

    def __init__(self, config: Seq2SeqConfig):
        super().__init__(config)
        self.encoder = Encoder(config.block, config.encoder_depth)
        post_norm = config.block.norm == "post"
        self.encoder_norm = nn.Identity() if post_norm else nn.LayerNorm(config.block.embed_dim, config.block.norm_eps)
        xavier_uniform(self.encoder)
        zero_biases(self.encoder, nn.Linear)

    def encode(self, source: Tensor) -> EncoderOutput:
        mask = padding_mask(source != self.config.pad)
        return EncoderOutput(self.encoder_norm(self.encoder(self.embedded(source), mask=mask).tokens), mask)

    def attention_streams(self) -> AttentionStreams:
        return ("encoder.*", "source", "source"), *self.decoder_streams("source")

    def layer_groups(self) -> LayerGroups:
        encoder = block_groups([self.token_embed], self.encoder, [self.encoder_norm])
        return [*encoder, *self.decoder_groups()]

    def example_inputs(self, batch_size: int = 1, image_size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        tokens = example_tokens(batch_size, self.config.context_length, self.config.vocab_size, image_size)
        return tokens, tokens


def seq2seq_base_config() -> Seq2SeqConfig:
    """The paper's base model with its shared vocabulary of 37,000: 63,082,496 parameters."""
    return Seq2SeqConfig(block=BlockConfig(512, 8, 2048, "post", 1e-5, "relu", dropout=0.1))


def seq2seq_small_config(norm: Literal["pre", "post"] = "pre") -> Seq2SeqConfig:
    """For small data on a CPU."""
    block = BlockConfig(128, 4, 256, norm, 1e-5, "relu", dropout=0.1)
    return Seq2SeqConfig(block=block, encoder_depth=2, decoder_depth=2, vocab_size=1000, context_length=64)
