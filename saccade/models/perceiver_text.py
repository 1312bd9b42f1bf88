"""A Perceiver of texts: bytes through a few latents, and a query for every place (Jaegle et al., arXiv 2107.14795).

No vocabulary but the 256 bytes: texts are five times as long, and the latents make that cheap. Each place asks the
latents what stands there, by its position alone.

B texts, L bytes, N latents of width D, C width of a byte, V kinds of tokens.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.model import Model, OfText
from saccade.models.perceiver import CrossBlock, Latents, LatentsConfig
from saccade.nn.masks import padding_mask
from saccade.nn.transformer import BlockConfig


@dataclass(frozen=True)
class PerceiverTextConfig(OfText):
    """A Perceiver that names hidden bytes.

    Attributes:
        latents: see there.
        width: C, of bytes and of queries.
        vocab_size: V.
        context_length: most tokens of a text.
        decoder_heads, decoder_key_dim: of the look at the latents; values are as wide as the queries.
    """

    latents: LatentsConfig
    width: int = 768
    vocab_size: int = 262
    context_length: int = 2048
    decoder_heads: int = 8
    decoder_key_dim: int = 256
    num_classes: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PerceiverTextConfig":
        latents = {**values["latents"], "block": BlockConfig(**values["latents"]["block"])}
        return cls(**{**values, "latents": LatentsConfig(**latents)})


class NamedBytes(NamedTuple):
    """What stands in each place."""

    logits: Tensor  # [B, L, V]
    follows: None = None  # it is not asked whether texts follow each other


class PerceiverText(Model):
    """``net(tokens [B, L])`` -> :class:`NamedBytes`."""

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
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.num_features = dim
        nn.init.normal_(self.token_embed.weight, std=0.02)

    def forward(self, tokens: Tensor, types: Tensor | None = None, valid: Tensor | None = None) -> NamedBytes:
        """What stands in each place, read off the table of bytes.

        Args:
            tokens: ``[B, L]``.
            types: not looked at: a Perceiver is told nothing of sentences.
            valid: which tokens are there, ``[B, L]`` boolean; all unless given.
        """
        length = tokens.shape[1]
        inputs = self.token_embed(tokens) + self.pos_embed[:length]
        known = self.latents(inputs, None if valid is None else padding_mask(valid))
        answers = self.decoder(self.queries[:length].expand(len(tokens), -1, -1), known)
        return NamedBytes(F.linear(answers, self.token_embed.weight, self.bias))

    def inputs_for(self, images: Tensor) -> tuple[Tensor, ...]:
        return ((images[:, 0, 0].abs() * 1000).long() % self.config.vocab_size,)


def perceiver_text_config() -> PerceiverTextConfig:
    """DeepMind's: 256 latents, 26 blocks, 2,048 bytes."""
    block = BlockConfig(1280, 8, 1280, norm_eps=1e-5, attention_dropout=0.1, key_dim=256)
    return PerceiverTextConfig(LatentsConfig(block, 256, 26, heads=8, key_dim=256, value_dim=1280))


def perceiver_text_small_config() -> PerceiverTextConfig:
    """For small data on a CPU."""
    latents = LatentsConfig(BlockConfig(128, 4, 256, norm_eps=1e-5), 32, 3, heads=4, key_dim=128, value_dim=128)
    return PerceiverTextConfig(latents, 96, context_length=128)
