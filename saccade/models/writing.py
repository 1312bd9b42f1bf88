"""A decoder that writes: what translators and readers of images share.

A word of the target sees those before it, and all of the memory that an encoder made of the source. What comes next is
read off the table of words itself (Vaswani et al., arXiv 1706.03762).

B sentences, L places of the memory, M tokens of the target, D width, V words.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.model import Model
from saccade.nn.decoding import Memory, Past, decode_step
from saccade.nn.masks import causal_mask
from saccade.nn.positions import sinusoidal_1d
from saccade.nn.transformer import BlockConfig, Decoder


@dataclass(frozen=True, kw_only=True)
class WriterConfig:
    """A decoder and its words.

    Attributes:
        block: of the decoder; post-norm in the original.
        decoder_depth: number of blocks.
        vocab_size: V, of source and target together.
        tied: whether words are read off the table that they are looked up in; else off a table of their own.
        output_bias: whether each word has a bias of its own.
        positions: sines and cosines "interleaved" as in the paper, or all sines before all cosines ("halves", Marian).
        scaled: whether words are multiplied by the root of D before positions are added.
        pad, begin, end: numbers of the tokens that fill up, start and finish a sentence.
        context_length: most tokens that are written.
    """

    block: BlockConfig
    decoder_depth: int = 6
    vocab_size: int = 37000
    tied: bool = True
    output_bias: bool = False
    positions: Literal["interleaved", "halves"] = "interleaved"
    scaled: bool = True
    pad: int = 0
    begin: int = 1
    end: int = 2
    context_length: int = 512
    num_classes: int = 0


class Writer(Model, ABC):
    """``net(source, target [B, M])`` -> logits of the next word after each of the target, ``[B, M, V]``."""

    def __init__(self, config: WriterConfig):
        super().__init__()
        self.config = config
        dim = config.block.embed_dim
        self.token_embed = nn.Embedding(config.vocab_size, dim)
        nn.init.normal_(self.token_embed.weight, std=dim**-0.5)
        self.dropout = nn.Dropout(config.block.dropout)
        self.decoder = Decoder(config.block, config.decoder_depth)
        post_norm = config.block.norm == "post"
        self.decoder_norm = nn.Identity() if post_norm else nn.LayerNorm(dim, config.block.norm_eps)
        self.output = None if config.tied else nn.Linear(dim, config.vocab_size, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.output_bias else None
        self.num_features = dim
        for parameter in self.decoder.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    @abstractmethod
    def encode(self, source: Tensor) -> Memory:
        """What the decoder looks at."""

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory = self.encode(source)
        # Padding of a target stands behind its words, where the causal mask hides it already.
        mask = causal_mask(target.shape[1], device=target.device)
        x = self.decoder(self.embedded(target), memory.tokens, mask=mask, memory_mask=memory.mask).tokens
        return self.words(self.decoder_norm(x))

    def next_word(self, last: Tensor, memory: Memory, past: list[Past]) -> Tensor:
        """Logits ``[B, V]`` after one more token ``[B, 1]``; what was computed for those before it is in `past`, one
        for each block, which grows."""
        x = self.embedded(last, start=past[0].length)
        for block, before in zip(self.decoder, past):
            x = decode_step(block, x, before, memory.tokens, memory.mask)  # type: ignore[arg-type]  # a ModuleList
        return self.words(self.decoder_norm(x))[:, -1]

    def embedded(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Words with their places, of which the first is `start`: ``[B, L]`` -> ``[B, L, D]``."""
        dim = self.config.block.embed_dim
        table = sinusoidal_1d(start + tokens.shape[1], dim)[start:]
        if self.config.positions == "halves":
            table = torch.cat((table[:, 0::2], table[:, 1::2]), dim=1)
        x = self.token_embed(tokens) * (math.sqrt(dim) if self.config.scaled else 1.0)
        return self.dropout(x + table.to(x))

    def words(self, x: Tensor) -> Tensor:
        """``[B, M, D]`` -> logits ``[B, M, V]``."""
        table = self.token_embed.weight if self.output is None else self.output.weight
        return F.linear(x, table, self.output_bias)
