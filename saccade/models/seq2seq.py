"""The original Transformer: an encoder reads, a decoder writes word by word (Vaswani et al., arXiv 1706.03762).

Every word of the source sees every other; a word of the target sees those before it, and the whole source.

B sentences, L and M tokens of source and target, D width, V words.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from saccade.models.model import OfText
from saccade.models.writing import Writer, WriterConfig
from saccade.nn.decoding import Memory
from saccade.nn.masks import padding_mask
from saccade.nn.transformer import BlockConfig, Encoder


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig(OfText, WriterConfig):
    """An encoder and a decoder with the same blocks and the same table of words.

    Attributes:
        encoder_depth: number of blocks.
    """

    encoder_depth: int = 6


class Seq2Seq(Writer):
    """``net(source [B, L], target [B, M])`` -> logits of the next word after each of the target, ``[B, M, V]``.

    Padding, by its number, is seen by nobody.
    """

    config: Seq2SeqConfig

    def __init__(self, config: Seq2SeqConfig):
        super().__init__(config)
        self.encoder = Encoder(config.block, config.encoder_depth)
        post_norm = config.block.norm == "post"
        self.encoder_norm = nn.Identity() if post_norm else nn.LayerNorm(config.block.embed_dim, config.block.norm_eps)
        for parameter in self.encoder.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def encode(self, source: Tensor) -> Memory:
        mask = padding_mask(source != self.config.pad)
        return Memory(self.encoder_norm(self.encoder(self.embedded(source), mask=mask).tokens), mask)

    def inputs_for(self, images: Tensor) -> tuple[Tensor, ...]:
        tokens = 3 + (images[:, 0, 0].abs() * 1000).long() % (self.config.vocab_size - 3)
        return tokens, tokens


def seq2seq_base_config() -> Seq2SeqConfig:
    """The paper's base model with its 37,000 shared words: 63,082,496 parameters."""
    return Seq2SeqConfig(block=BlockConfig(512, 8, 2048, "post", 1e-5, "relu", dropout=0.1))


def seq2seq_small_config(norm: Literal["pre", "post"] = "pre") -> Seq2SeqConfig:
    """For small data on a CPU."""
    block = BlockConfig(128, 4, 256, norm, 1e-5, "relu", dropout=0.1)
    return Seq2SeqConfig(block=block, encoder_depth=2, decoder_depth=2, vocab_size=1000, context_length=64)
