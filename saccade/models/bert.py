"""BERT: an encoder of texts that sees both sides (Devlin et al., arXiv 1810.04805).

The encoder of the ViT in post-norm, over words instead of patches: some words are hidden, and the model names them. The
first token gathers what a sentence says; with pairs of sentences it says whether the second follows the first.

T texts, L tokens, D width, V words.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.model import Model, OfText
from saccade.nn.masks import padding_mask
from saccade.nn.transformer import BlockConfig, Encoder


@dataclass(frozen=True)
class BertConfig(OfText):
    """A text encoder.

    Attributes:
        block: of the encoder, post-norm.
        depth: number of blocks.
        vocab_size: V.
        context_length: most tokens of a text.
        token_types: sentences that a text may be made of.
        pooler: whether the first token goes through one more layer.
        masked_lm: whether hidden words are named, by the table of words itself.
        next_sentence: whether it is said if two sentences follow each other; needs the pooler.
    """

    block: BlockConfig
    depth: int
    vocab_size: int = 30522
    context_length: int = 512
    token_types: int = 2
    pooler: bool = True
    masked_lm: bool = False
    next_sentence: bool = False
    num_classes: int = 0

    def __post_init__(self) -> None:
        if self.next_sentence and not self.pooler:
            raise ValueError("whether sentences follow each other is read from the pooler")


class BertOutput(NamedTuple):
    """What is known of texts."""

    hidden: Tensor  # [T, L, D]
    pooled: Tensor | None = None  # [T, D]
    logits: Tensor | None = None  # [T, L, V]
    follows: Tensor | None = None  # [T, 2] logits: yes, no


class WordHead(nn.Module):
    """A layer, a norm, and the table of words turned round."""

    def __init__(self, dim: int, vocab_size: int, eps: float):
        super().__init__()
        self.transform, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim, eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.transform(x))), table, self.bias)


class Bert(Model):
    """``net(tokens [T, L])`` -> :class:`BertOutput`."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.config = config
        dim, eps = config.block.embed_dim, config.block.norm_eps
        self.token_embed = nn.Embedding(config.vocab_size, dim)
        self.pos_embed = nn.Parameter(torch.empty(config.context_length, dim))
        self.type_embed = nn.Embedding(config.token_types, dim)
        self.embed_norm, self.dropout = nn.LayerNorm(dim, eps), nn.Dropout(config.block.dropout)
        self.encoder = Encoder(config.block, config.depth)
        self.pooler = nn.Linear(dim, dim) if config.pooler else None
        self.word_head = WordHead(dim, config.vocab_size, eps) if config.masked_lm else None
        self.next_head = nn.Linear(dim, 2) if config.next_sentence else None
        self.num_features = dim
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)

    def forward(self, tokens: Tensor, types: Tensor | None = None, valid: Tensor | None = None) -> BertOutput:
        """Everything that the config asks for.

        Args:
            tokens: ``[T, L]``.
            types: which sentence each token is of, ``[T, L]``; the first unless given.
            valid: which tokens are there, ``[T, L]`` boolean; all unless given.
        """
        types = torch.zeros_like(tokens) if types is None else types
        x = self.token_embed(tokens) + self.pos_embed[: tokens.shape[1]] + self.type_embed(types)
        mask = None if valid is None else padding_mask(valid)
        hidden = self.encoder(self.dropout(self.embed_norm(x)), mask=mask).tokens
        pooled = None if self.pooler is None else torch.tanh(self.pooler(hidden[:, 0]))
        logits = None if self.word_head is None else self.word_head(hidden, self.token_embed.weight)
        follows = None
        if self.next_head is not None and pooled is not None:
            follows = self.next_head(pooled)
        return BertOutput(hidden, pooled, logits, follows)

    def inputs_for(self, images: Tensor) -> tuple[Tensor, ...]:
        return ((images[:, 0, 0].abs() * 1000).long() % self.config.vocab_size,)


#            width, depth
SIZES: dict[str, tuple[int, int]] = {"base": (768, 12), "large": (1024, 24)}


def bert_small_config() -> BertConfig:
    """For small data on a CPU, with the head that names hidden words."""
    return BertConfig(BlockConfig(128, 4, 512, "post", 1e-12), 4, vocab_size=1000, context_length=64, masked_lm=True)


def bert_config(size: str) -> BertConfig:
    """The published ones, without heads: ``bert_config("base")`` has 109,482,240 parameters."""
    width, depth = SIZES[size]
    block = BlockConfig(width, width // 64, 4 * width, "post", 1e-12, dropout=0.1, attention_dropout=0.1)
    return BertConfig(block, depth)
