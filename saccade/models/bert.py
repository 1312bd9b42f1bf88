"""BERT: a bidirectional encoder of texts (Devlin et al., arXiv 1810.04805).

The transformer encoder in post-norm over word pieces. Pre-training masks some tokens and predicts them (masked language
modelling); from the first token of a pair of sentences it also predicts whether the second follows the first.

T texts, L tokens, D width, V tokens of the vocabulary.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from saccade.models.model import AttentionStreams, LayerGroups, Model, TextInput, block_groups, example_tokens
from saccade.nn.attention import zero_biases
from saccade.nn.embedding import TiedLinear
from saccade.nn.masks import key_padding_mask
from saccade.nn.transformer import BlockConfig, Encoder


@dataclass(frozen=True)
class BertConfig(TextInput):
    """A text encoder.

    Attributes:
        block: of the encoder, post-norm.
        depth: number of blocks.
        vocab_size: V.
        context_length: maximum number of tokens in a text.
        token_types: maximum number of sentences in a text.
        pooler: whether the first token passes through one more layer with tanh.
        masked_lm: whether there is a head for masked language modelling.
        next_sentence: whether there is a head for next-sentence prediction; needs the pooler.
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
            raise ValueError("next_sentence=True needs pooler=True")


class BertOutput(NamedTuple):
    """Output of the encoder and of the heads in the config."""

    hidden: Tensor  # [T, L, D]
    pooled: Tensor | None = None  # [T, D]
    logits: Tensor | None = None  # [T, L, V]
    follows: Tensor | None = None  # [T, 2] logits of next-sentence prediction: yes, no


class MaskedLMHead(nn.Module):
    """Hidden states ``[T, L, D]`` -> logits ``[T, L, V]``: a linear layer, a norm, and the tied embedding table."""

    def __init__(self, embedding: nn.Embedding, eps: float):
        super().__init__()
        dim = embedding.embedding_dim
        self.transform, self.act, self.norm = nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim, eps)
        self.decoder = TiedLinear(embedding)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.norm(self.act(self.transform(x))))


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
        self.word_head = MaskedLMHead(self.token_embed, eps) if config.masked_lm else None
        self.next_head = nn.Linear(dim, 2) if config.next_sentence else None
        self.num_features = dim
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding) and not isinstance(module, TiedLinear):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)
        zero_biases(self, nn.Linear)

    def forward(self, tokens: Tensor, types: Tensor | None = None, valid: Tensor | None = None) -> BertOutput:
        """Run the encoder and the heads in the config.

        Args:
            tokens: ``[T, L]``.
            types: 0 for tokens of the first sentence, 1 for those of the second, ``[T, L]``; 0 by default.
            valid: False for padding, ``[T, L]`` boolean; all True by default.
        """
        types = torch.zeros_like(tokens) if types is None else types
        x = self.token_embed(tokens) + self.pos_embed[: tokens.shape[1]] + self.type_embed(types)
        hidden = self.encoder(self.dropout(self.embed_norm(x)), mask=key_padding_mask(valid)).tokens
        pooled = None if self.pooler is None else torch.tanh(self.pooler(hidden[:, 0]))
        logits = None if self.word_head is None else self.word_head(hidden)
        follows = None
        if self.next_head is not None and pooled is not None:
            follows = self.next_head(pooled)
        return BertOutput(hidden, pooled, logits, follows)

    def attention_streams(self) -> AttentionStreams:
        return (("encoder.*", "text", "text"),)

    def layer_groups(self) -> LayerGroups:
        inputs = (self.token_embed, self.pos_embed, self.type_embed, self.embed_norm)
        return block_groups(inputs, self.encoder)

    def example_inputs(self, batch_size: int = 1, image_size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        return (example_tokens(batch_size, self.config.context_length, self.config.vocab_size, image_size),)


#            width, depth
SIZES: dict[str, tuple[int, int]] = {"base": (768, 12), "large": (1024, 24)}


def bert_small_config() -> BertConfig:
    """For small data on a CPU, with the head for masked language modelling."""
    return BertConfig(BlockConfig(128, 4, 512, "post", 1e-12), 4, vocab_size=1000, context_length=64, masked_lm=True)


def bert_config(size: str) -> BertConfig:
    """The published ones, without heads: ``bert_config("base")`` has 109,482,240 parameters."""
    width, depth = SIZES[size]
    block = BlockConfig(width, width // 64, 4 * width, "post", 1e-12, dropout=0.1, attention_dropout=0.1)
    return BertConfig(block, depth)


# The named models of the catalogue.
bert_base_config = partial(bert_config, "base")
bert_large_config = partial(bert_config, "large")
