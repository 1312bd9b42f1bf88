"""Relevance of tokens for one output: attention weighted by its gradient, through all layers.

Chefer et al., arXiv 2103.15679, for self-attention, and for an encoder with a decoder that attends to it. Of each layer
only the weights count whose growth would raise the output: Ā = mean over heads of max(0, ∂output/∂A * A).

H heads, N tokens of the encoder, Q tokens of the decoder.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class WeightedAttention(NamedTuple):
    """The attention of a layer and the gradient of the output with respect to it, ``[H, queries, keys]`` each."""

    weights: Tensor
    gradient: Tensor

    def positive(self) -> Tensor:
        """``[queries, keys]``: Ā."""
        return (self.gradient * self.weights).clamp(min=0).mean(dim=0)


class DecoderAttention(NamedTuple):
    """The two attentions of a block of a decoder."""

    own: WeightedAttention  # [H, Q, Q]
    cross: WeightedAttention  # [H, Q, N]


def self_relevance(layers: Sequence[WeightedAttention]) -> Tensor:
    """``[N, N]``: of each token (row) the relevance of every input token (column), from the first layer to the last.

    Every layer adds what its attention passes on: R ← R + Ā R, from the identity.
    """
    if not layers:
        raise ValueError("relevance needs the attention of at least one layer")
    relevance = torch.eye(layers[0].weights.shape[-1]).to(layers[0].weights)
    for layer in layers:
        relevance = relevance + layer.positive() @ relevance
    return relevance


def decoder_relevance(encoder: Sequence[WeightedAttention], decoder: Sequence[DecoderAttention]) -> Tensor:
    """``[Q, N]``: of each token of the decoder the relevance of every input token of the encoder.

    A block mixes what its tokens have gathered (self-attention), then adds what they take from the encoder
    (cross-attention), seen through the relevance on both sides: R_qe ← R_qe + R̄_qqᵀ Ā R̄_ee.
    """
    if not encoder or not decoder:
        raise ValueError("relevance needs at least one layer of the encoder and one of the decoder")
    memory = _normalized(self_relevance(encoder))
    count = decoder[0].own.weights.shape[-1]
    own = torch.eye(count).to(memory)
    across = memory.new_zeros(count, memory.shape[0])
    for block in decoder:
        mixing = block.own.positive()
        own, across = own + mixing @ own, across + mixing @ across
        across = across + _normalized(own).T @ block.cross.positive() @ memory
    return across


def _normalized(relevance: Tensor) -> Tensor:
    """The rows without the identity, which sum to 1 each then, and the identity again."""
    identity = torch.eye(len(relevance)).to(relevance)
    gathered = relevance - identity
    total = gathered.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, gathered / total, torch.zeros_like(gathered)) + identity
