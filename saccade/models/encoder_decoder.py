"""Encoder-decoder models of texts: the decoder and its vocabulary, shared by translation and image to text.

A token of the target attends to those before it (causal mask) and to the encoder's whole output. The logits of the next
token are computed with the embedding table, unless the weights are untied (Vaswani et al., arXiv 1706.03762).

B sources, L tokens of the encoder's output, M tokens of the target, D width, V tokens of the vocabulary.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from saccade.models.model import AttentionStreams, LayerGroups, Model, stacked_groups
from saccade.nn.attention import xavier_uniform, zero_biases
from saccade.nn.embedding import TiedLinear
from saccade.nn.generation import EncoderOutput
from saccade.nn.masks import causal_mask
from saccade.nn.positions import sinusoidal_1d
from saccade.nn.transformer import BlockCache, BlockConfig, Decoder


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """A decoder and its vocabulary.

    Attributes:
        block: configuration of the decoder's blocks; post-norm in the original.
        decoder_depth: number of blocks.
        vocab_size: V, shared by source and target.
        tied: whether the output projection shares the embedding table; otherwise it has its own matrix.
        output_bias: whether the logits have a bias for each token.
        positions: sines and cosines "interleaved" as in the paper, or all sines before all cosines ("halves", Marian).
        scaled: whether embeddings are multiplied by the root of D before positions are added.
        pad, begin, end: ids of the padding, begin and end tokens.
        context_length: maximum number of tokens in a generated text.
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


class EncoderDecoder(Model, ABC):
    """``net(source, target [B, M])`` -> logits of the next token after each of the target, ``[B, M, V]``."""

    def __init__(self, config: EncoderDecoderConfig):
        super().__init__()
        self.config = config
        dim = config.block.embed_dim
        self.token_embed = nn.Embedding(config.vocab_size, dim)
        nn.init.normal_(self.token_embed.weight, std=dim**-0.5)
        self.dropout = nn.Dropout(config.block.dropout)
        self.decoder = Decoder(config.block, config.decoder_depth)
        post_norm = config.block.norm == "post"
        self.decoder_norm = nn.Identity() if post_norm else nn.LayerNorm(dim, config.block.norm_eps)
        if config.tied:
            self.output: nn.Linear = TiedLinear(self.token_embed, bias=config.output_bias)
        else:
            self.output = nn.Linear(dim, config.vocab_size, bias=config.output_bias)
            if config.output_bias:
                nn.init.zeros_(self.output.bias)
        self.num_features = dim
        xavier_uniform(self.decoder)
        zero_biases(self.decoder, nn.Linear)

    @abstractmethod
    def encode(self, source: Tensor) -> EncoderOutput:
        """Tokens ``[B, L]`` or images ``[B, C, H, W]`` -> the memory that the decoder attends to."""

    def decoder_streams(self, memory: str) -> AttentionStreams:
        """Attention streams of the decoder, which attends to the tokens of a memory."""
        return ("decoder.*.cross_attn", "target", memory), ("decoder.*", "target", "target")

    def decoder_groups(self, *inputs: nn.Module) -> LayerGroups:
        """The decoder's blocks, the first one with the layers that make its input, the last one with the norm after
        it."""
        return stacked_groups(inputs, self.decoder, [self.decoder_norm])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Teacher forcing: every token of the target is given, and each position predicts the next."""
        return self.decode(target, self.encode(source))

    def decode(self, tokens: Tensor, encoded: EncoderOutput, caches: list[BlockCache] | None = None) -> Tensor:
        """Logits ``[B, n, V]`` of the token that follows each of ``tokens [B, n]``.

        Args:
            tokens: the whole text; with caches only the new tokens.
            encoded: output of :meth:`encode`.
            caches: keys and values of earlier tokens, one cache for each block; the new tokens are appended.
        """
        start, count = 0 if caches is None else caches[0].attn.length, tokens.shape[1]
        # Padding of a target stands behind its words, where the causal mask hides it. One token may see all before it.
        mask = causal_mask(count, start + count, device=tokens.device) if count > 1 else None
        x = self.decoder(
            self.embedded(tokens, start), encoded.tokens, mask=mask, memory_mask=encoded.mask, caches=caches
        ).tokens
        return self.output(self.decoder_norm(x))

    def embedded(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Embeddings with positions, counted from ``start``: ``[B, n]`` -> ``[B, n, D]``."""
        x = self.token_embed(tokens) * (math.sqrt(self.config.block.embed_dim) if self.config.scaled else 1.0)
        return self.dropout(x + self.text_positions(start + tokens.shape[1])[start:].to(x))

    def text_positions(self, count: int) -> Tensor:
        """The positions of the first tokens of a text, ``[count, D]``."""
        table = sinusoidal_1d(count, self.config.block.embed_dim)
        return torch.cat((table[:, 0::2], table[:, 1::2]), dim=1) if self.config.positions == "halves" else table
