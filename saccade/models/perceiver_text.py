"""Perceiver IO for masked language modelling on bytes (Jaegle et al., arXiv 2107.14795).

The vocabulary is the 256 bytes: sequences are about five times as long as with word pieces, which the latents make
affordable. One output query per position, which is its position embedding, attends to the latents and predicts the byte
there.

B texts, L bytes, N latents of width D, C width of a byte, V tokens of the vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saccade.models.model import AttentionStreams, LayerGroups, Model, TextInput, example_tokens
from saccade.models.perceiver import CrossBlock, Latents, LatentsConfig
from saccade.nn.embedding import TiedLinear
from saccade.nn.masks import key_padding_mask
from saccade.nn.transformer import BlockConfig


@dataclass(frozen=True)
class PerceiverTextConfig(TextInput):
    """A Perceiver that predicts masked bytes.

    Attributes:
        latents: see :class:`~saccade.models.perceiver.LatentsConfig`.
        width: C, width of bytes and queries.
        vocab_size: V.
        context_length: maximum number of tokens in a text.
        decoder_heads, decoder_key_dim: number of heads and width of the keys of the decoder's cross-attention; values
            are as wide as the queries.
    """

    latents: LatentsConfig
    width: int = 768
    vocab_size: int = 262
    context_length: int = 2048
    decoder_heads: int = 8
    decoder_key_dim: int = 256
    num_classes: int = 0


class MaskedBytesOutput(NamedTuple):
    """Predictions for every position."""

    logits: Tensor  # [B, L, V]
    follows: None = None  # no next-sentence prediction


class PerceiverText(Model):
    """``net(tokens [B, L])`` -> :class:`MaskedBytesOutput`."""

    def __init__(self, config: PerceiverTextConfig):
        super().__init__()
        self.config = config
        dim, eps = config.latents.block.embed_dim, config.latents.block.norm_eps
        self.token_embed = nn.Embedding(config.vocab_size, config.width)
        self.pos_embed = nn.Parameter(torch.empty(config.context_length, config.width).normal_(std=0.02))
        self.latents = Latents(config.latents, config.width)
        self.queries = nn.Parameter(torch.empty(config.context_length, config.width).normal_(std=0.02))
        self.decoder = CrossBlock(
            config.width, dim, config.decoder_heads, key_dim=config.decoder_key_dim, value_dim=config.width,
            norm_eps=eps, residual=False,
        )  # fmt: skip
        self.output = TiedLinear(self.token_embed)
        self.num_features = dim
        nn.init.normal_(self.token_embed.weight, std=0.02)

    def forward(self, tokens: Tensor, types: Tensor | None = None, valid: Tensor | None = None) -> MaskedBytesOutput:
        """Logits over the bytes for every position.

        Args:
            tokens: ``[B, L]``.
            types: unused: a Perceiver has no token types.
            valid: False for padding, ``[B, L]`` boolean; all True by default.
        """
        length = tokens.shape[1]
        inputs = self.token_embed(tokens) + self.pos_embed[:length]
        latents = self.latents(inputs, key_padding_mask(valid))
        hidden = self.decoder(self.queries[:length].expand(len(tokens), -1, -1), latents)
        return MaskedBytesOutput(self.output(hidden))

    def attention_streams(self) -> AttentionStreams:
        return ("latents.read.*", "latents", "text"), ("latents.*", "latents", "latents"), ("*", "output", "latents")

    def layer_groups(self) -> LayerGroups:
        groups = self.latents.layer_groups()
        groups[0] += [self.token_embed, self.pos_embed]
        return [*groups, [self.decoder, self.queries]]

    def example_inputs(self, batch_size: int = 1, image_size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        return (example_tokens(batch_size, self.config.context_length, self.config.vocab_size, image_size),)


def perceiver_text_config() -> PerceiverTextConfig:
    """DeepMind's model: 256 latents, 26 blocks, 2,048 bytes."""
    block = BlockConfig(1280, 8, 1280, norm_eps=1e-5, attention_dropout=0.1, key_dim=256)
    return PerceiverTextConfig(LatentsConfig(block, 256, 26, heads=8, key_dim=256, value_dim=1280))


def perceiver_text_small_config() -> PerceiverTextConfig:
    """For small data on a CPU."""
    latents = LatentsConfig(BlockConfig(128, 4, 256, norm_eps=1e-5), 32, 3, heads=4, key_dim=128, value_dim=128)
    return PerceiverTextConfig(latents, 96, context_length=128)
