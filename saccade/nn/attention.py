"""Attention: every query asks every key how well they match, and takes that mixture of the values.

    attention(q, k, v) = softmax(q kᵀ / √d) v                       (Vaswani et al. 2017, arXiv 1706.03762)

B batch, Q queries, K keys, H heads, D width of the tokens, d width of one head's queries and keys,
e width of one head's values.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    """How much each query takes of each key: ``softmax(scale * q kᵀ + mask)``.

    Args:
        q: queries ``[..., Q, d]``.
        k: keys ``[..., K, d]``.
        mask: broadcastable to ``[..., Q, K]``; boolean, True where a query may see a key, or a float bias that is
            added to the scaled scores (``-inf`` hides a key).
        scale: factor of the scores; ``1 / sqrt(d)`` unless given.

    Returns:
        ``[..., Q, K]``, rows that sum to 1, or rows of zeros where every key is hidden.
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = scale * q @ k.transpose(-2, -1)  # [..., Q, K]
    if mask is None:
        return scores.softmax(dim=-1)
    mask, alive = _keep_rows_finite(mask)
    scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1).masked_fill(~alive, 0.0)


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """``attention_weights(q, k, mask, scale) @ v`` in one fused kernel that never stores the weights.

    Args:
        q: queries ``[B, H, Q, d]``.
        k: keys ``[B, H, K, d]``.
        v: values ``[B, H, K, e]``; e may differ from d.
        mask: as for :func:`attention_weights`.
        scale: as for :func:`attention_weights`.
        dropout: probability with which a weight is dropped; the caller passes 0 outside training.

    Returns:
        ``[B, H, Q, e]``; zeros for a query whose every key is hidden.
    """
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
    mask, alive = _keep_rows_finite(mask)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    return out.masked_fill(~alive, 0.0)


def _keep_rows_finite(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Open the rows that hide every key, so that no kernel meets a softmax over nothing; say which rows live.

    Zeroing afterwards is not enough: NaN in the forward pass comes back as NaN in the gradient.
    """
    if mask.dtype == torch.bool:
        alive = mask.any(dim=-1, keepdim=True)
        return mask | ~alive, alive
    alive = (mask > -math.inf).any(dim=-1, keepdim=True)
    return mask.masked_fill(~alive, 0.0), alive


Tap = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor], None]  # (q, k, v, mask, out), heads split


class Attention(nn.Module):
    """What every attention here is, so that saccade.record finds it."""

    def __init__(self):
        super().__init__()
        self.tap: Tap | None = None  # set by saccade.record for as long as somebody looks


class MultiHeadAttention(Attention):
    """Several attentions side by side, each over its own slice of the width.

    One product makes queries, keys and values where they come from one input; where positions are added to queries
    and keys only, or keys come from elsewhere, the rows of the same weight are used in two or three products. So the
    parameters are the same in self-attention, in DETR's attention with positions, and in cross-attention.

    Args:
        embed_dim: width D of the queries' input and of the output.
        num_heads: heads H; must divide ``key_dim`` and ``value_dim``.
        context_dim: width of the keys' and values' input where it differs from D: then the queries have a projection
            ``q`` and keys and values share ``kv``. Otherwise all three are packed in ``qkv``.
        key_dim: total width of queries and keys over all heads; D unless given.
        value_dim: total width of values over all heads; D unless given.
        qkv_bias: whether the input projections have a bias.
        dropout: probability of dropping an attention weight in training.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        context_dim: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        qkv_bias: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.key_dim = embed_dim if key_dim is None else key_dim
        self.value_dim = embed_dim if value_dim is None else value_dim
        for name, width in (("key_dim", self.key_dim), ("value_dim", self.value_dim)):
            if width % num_heads:
                raise ValueError(f"{name} {width} cannot be split over {num_heads} heads")
        self.dropout = dropout
        self.packed = context_dim is None
        if context_dim is None:
            self.qkv = nn.Linear(embed_dim, 2 * self.key_dim + self.value_dim, bias=qkv_bias)
        else:
            self.q = nn.Linear(embed_dim, self.key_dim, bias=qkv_bias)
            self.kv = nn.Linear(context_dim, self.key_dim + self.value_dim, bias=qkv_bias)
        self.proj = nn.Linear(self.value_dim, embed_dim)

    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """``query [B, Q, D]`` attends to ``key``, ``value [B, K, C]`` -> ``[B, Q, D]``.

        ``key`` defaults to the query (self-attention), ``value`` to the key.
        """
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = (self.split_heads(x) for x in self.project(query, key, value))
        out = attend(q, k, v, mask, dropout=self.dropout if self.training else 0.0)  # [B, H, Q, e]
        if self.tap is not None:
            self.tap(q, k, v, mask, out)
        return self.proj(out.transpose(1, 2).flatten(2))

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries ``[B, Q, key_dim]``, keys ``[B, K, key_dim]`` and values ``[B, K, value_dim]`` in few products."""
        widths = [self.key_dim, self.key_dim, self.value_dim]
        if not self.packed:
            k, v = _products(self.kv, [key, value], widths[1:])
            return self.q(query), k, v
        q, k, v = _products(self.qkv, [query, key, value], widths)
        return q, k, v

    def queries(self, x: Tensor) -> Tensor:
        """Queries alone, ``[B, Q, D]`` -> ``[B, Q, key_dim]``, where keys and values are known."""
        if not self.packed:
            return self.q(x)
        bias = None if self.qkv.bias is None else self.qkv.bias[: self.key_dim]
        return F.linear(x, self.qkv.weight[: self.key_dim], bias)

    def split_heads(self, x: Tensor) -> Tensor:
        """``[B, N, H*d]`` -> ``[B, H, N, d]``."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _products(linear: nn.Linear, inputs: list[Tensor], widths: list[int]) -> list[Tensor]:
    """Apply consecutive row blocks of one packed ``linear`` to ``inputs``; equal neighbours share one product."""
    outputs: list[Tensor] = []
    start = 0  # first input of the group, and the row where its weights begin
    row = 0
    while start < len(inputs):
        end = start + 1
        while end < len(inputs) and inputs[end] is inputs[start]:
            end += 1
        group = widths[start:end]
        rows = slice(row, row + sum(group))
        bias = None if linear.bias is None else linear.bias[rows]
        outputs += F.linear(inputs[start], linear.weight[rows], bias).split(group, dim=-1)
        start, row = end, rows.stop
    return outputs
