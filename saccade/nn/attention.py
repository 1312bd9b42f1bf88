"""Scaled dot-product attention and multi-head attention (Vaswani et al. 2017, arXiv 1706.03762).

    attention(q, k, v) = softmax(q kᵀ / √d) v

B batch, Q queries, K keys, H heads, D width of the tokens, d width of one head's queries and keys,
e width of one head's values.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.nn.positions import rotate


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    """The attention weight of every query on every key: ``softmax(scale * q kᵀ + mask)``.

    Args:
        q: queries ``[..., Q, d]``.
        k: keys ``[..., K, d]``.
        mask: broadcastable to ``[..., Q, K]``; boolean, True where a query may see a key, or a float bias that is
            added to the scaled scores (``-inf`` hides a key).
        scale: factor of the scores; ``1 / sqrt(d)`` by default.

    Returns:
        ``[..., Q, K]``; each row sums to 1, or is all zeros if every key of its query is hidden.
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
        ``[B, H, Q, e]``; zeros for a query all of whose keys are hidden.
    """
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
    mask, alive = _keep_rows_finite(mask)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    return out.masked_fill(~alive, 0.0)


torch.fx.wrap("attend")  # decides by the mask, which torch.fx does not follow: one node of a traced graph


def _keep_rows_finite(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Unmask rows that hide every key, so that no softmax is over an empty set; also return which rows are valid.

    Zeroing afterwards is not enough: NaN in the forward pass comes back as NaN in the gradient.
    """
    if mask.dtype == torch.bool:
        alive = mask.any(dim=-1, keepdim=True)
        return mask | ~alive, alive
    alive = (mask > -math.inf).any(dim=-1, keepdim=True)
    return mask.masked_fill(~alive, 0.0), alive


class AttentionTap(Protocol):
    """Hook of :func:`saccade.record` on an attention; `fused` and `explicit` return their tensor unchanged."""

    def fused(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
        """Called after :func:`attend` with its arguments and its output ``[B, H, Q, e]``; returns the output."""
        ...

    def explicit(self, weights: Tensor) -> Tensor:
        """Called where an attention has computed its weights ``[B, H, Q, K]``; returns them."""
        ...

    def needs_rest(self, count: int) -> tuple[bool, bool]:
        """Whether it needs the queries and outputs of tokens after the first `count`."""
        ...


class AttentionEdit(Protocol):
    """Hook that :func:`saccade.intervene` attaches to an attention."""

    def active(self) -> bool:
        """Whether it changes the forward pass of the current thread."""
        ...

    def inputs(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Called before :func:`attend`: returns the changed arguments."""
        ...

    def weights(self, q: Tensor, k: Tensor) -> Tensor | None:
        """Weights ``[B, H, Q, K]`` that replace those of the changed arguments; None keeps these."""
        ...

    def explicit(self, scores: Tensor) -> Tensor:
        """Scores ``[B, H, Q, K]`` -> weights, where an attention computes both itself."""
        ...


class Attention(nn.Module):
    """Base class of every attention; saccade.record and saccade.intervene find attentions by it."""

    def __init__(self):
        super().__init__()
        self.tap: AttentionTap | None = None  # set by saccade.record for the time of a recording
        self.edit: AttentionEdit | None = None  # set by saccade.intervene for the time of an intervention

    def fused(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
        """:func:`attend`, preceded by interventions and followed by recording."""
        tap, edit = self.tap, self.edit  # read once: another thread may end its recording at any moment
        weights = None
        if edit is not None:
            q, k, v, mask = edit.inputs(q, k, v, mask)
            weights = edit.weights(q, k)
        if weights is not None:
            return (weights if tap is None else tap.explicit(weights)).to(v) @ v
        out = attend(q, k, v, mask, dropout=dropout)
        return out if tap is None else tap.fused(q, k, v, mask, out)

    def explicit(self, scores: Tensor) -> Tensor:
        """Softmax over the last axis, preceded by interventions and followed by recording."""
        tap, edit = self.tap, self.edit
        weights = scores.softmax(dim=-1) if edit is None else edit.explicit(scores)
        return weights if tap is None else tap.explicit(weights)


@dataclass
class KVCache:
    """Keys ``[B, H, K, d]`` and values ``[B, H, K, e]`` of one attention during autoregressive decoding."""

    keys: Tensor | None = None
    values: Tensor | None = None

    @property
    def length(self) -> int:
        """Number K of cached tokens."""
        return 0 if self.keys is None else self.keys.shape[2]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append new tokens to the cached ones and return all of them."""
        self.keys = keys if self.keys is None else torch.cat((self.keys, keys), dim=2)
        self.values = values if self.values is None else torch.cat((self.values, values), dim=2)
        return self.keys, self.values

    def select(self, rows: Tensor) -> "KVCache":
        """The cache of some sequences of the batch, by index; an index may occur several times (beam search)."""
        if self.keys is None or self.values is None:
            return KVCache()
        return KVCache(self.keys[rows], self.values[rows])


class MultiHeadAttention(Attention):
    """Several attention heads in parallel, each over its own slice of the width.

    Self-attention has one packed projection ``qkv``: one matrix product for queries, keys and values. Where the inputs
    differ (positions added to queries and keys only as in DETR, or keys and values of another sequence as in
    cross-attention), ``packed=False`` gives three projections ``q``, ``k`` and ``v``. Both start from the same
    distribution, and from the same random numbers.

    Args:
        embed_dim: width D of the queries' input and of the output.
        num_heads: heads H; must divide ``key_dim`` and ``value_dim``.
        packed: whether queries, keys and values share one input and one projection.
        context_dim: width C of the keys' and values' input; D by default. Needs ``packed=False``.
        key_dim: total width of queries and keys over all heads; D by default.
        value_dim: total width of values over all heads; D by default.
        qkv_bias: whether the input projections have a bias.
        key_bias: whether the projection of the keys has one too; False requires ``packed=False``.
        dropout: probability of dropping an attention weight in training.

    Raises:
        ValueError: the heads do not divide a width, or ``context_dim`` or ``key_bias=False`` is given with a packed
            projection.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        packed: bool = True,
        context_dim: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        qkv_bias: bool = True,
        key_bias: bool = True,
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
        self.packed = packed
        self.widths = [self.key_dim, self.key_dim, self.value_dim]
        if packed:
            if context_dim is not None:
                raise ValueError("a packed projection has one input: context_dim needs packed=False")
            if not key_bias:
                raise ValueError("a packed projection has one bias: key_bias=False needs packed=False")
            self.qkv = nn.Linear(embed_dim, sum(self.widths), bias=qkv_bias)
        elif context_dim is None:
            self.q, self.k, self.v = split_linear(nn.Linear(embed_dim, sum(self.widths), bias=qkv_bias), self.widths)
        else:
            self.q = nn.Linear(embed_dim, self.key_dim, bias=qkv_bias)
            joint = nn.Linear(context_dim, self.key_dim + self.value_dim, bias=qkv_bias)
            self.k, self.v = split_linear(joint, self.widths[1:])
        if not key_bias:
            self.k.register_parameter("bias", None)
        self.proj = nn.Linear(self.value_dim, embed_dim)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """``query [B, Q, D]`` attends to ``key``, ``value [B, K, C]`` -> ``[B, Q, D]``.

        Args:
            query: input of the queries.
            key: input of the keys; the query by default. Needs ``packed=False``.
            value: input of the values; the key by default.
            mask: as for :func:`attention_weights`.
            cache: keys and values of earlier calls. Without ``key`` (self-attention) the new tokens are appended, and
                attend to all of them; with ``key`` (cross-attention) keys and values are projected in the first call
                and reused in the next.
            rotation: rotary angles of queries and keys, ``[2, Q, d / 2]``, for self-attention without a cache; see
                :func:`saccade.nn.positions.rotate`.

        Raises:
            ValueError: a key or a value for a packed projection, or a rotation with a cache or a key.
        """
        if rotation is not None and (cache is not None or key is not None):
            raise ValueError("rotary positions are for self-attention without a cache")
        if cache is not None and cache.keys is not None and cache.values is not None and key is not None:
            q, k, v = self.split_heads(self.q(query)), cache.keys, cache.values
        else:
            q, k, v = (self.split_heads(x) for x in self.project(query, key, value))
            if cache is not None:
                k, v = cache.append(k, v)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        out = self.fused(q, k, v, mask, self.dropout if self.training else 0.0)  # [B, H, Q, e]
        return self.merge_heads(out)

    def leading(
        self, x: Tensor, count: int, mask: Tensor | None = None, rotation: Tensor | None = None, *, rest: bool = False
    ) -> tuple[Tensor, ...]:
        """Self-attention with queries from the first tokens only: ``[B, N, D]`` -> ``([B, count, D],)``.

        Args:
            x: the tokens; all of them provide keys and values.
            count: number of the first tokens.
            mask: as for :func:`attention_weights`.
            rotation: as for :meth:`forward`.
            rest: whether to compute the other tokens ``[B, N - count, D]`` too, as a second tensor. They are computed
                apart: the first tensor has the same bits with and without them.
        """
        tap = self.tap
        queries, outputs = (False, False) if tap is None else tap.needs_rest(count)
        outputs |= rest
        if self.packed:
            q, k, v = self.project(x, None, None)
            first, others = q[:, :count], q[:, count:]
        else:
            k, v = self.k(x), self.v(x)
            first = self.q(x[:, :count])
            others = self.q(x[:, count:]) if queries or outputs else first
        first, others, k, v = (self.split_heads(part) for part in (first, others, k, v))
        if rotation is not None:
            first, k = rotate(first, rotation[:, :count]), rotate(k, rotation)
        dropout = self.dropout if self.training else 0.0
        out = attend(first, k, v, rows_of(mask, 0, count), dropout=dropout)
        if not queries and not outputs:
            return (self.merge_heads(out if tap is None else tap.fused(first, k, v, rows_of(mask, 0, count), out)),)
        if rotation is not None:
            others = rotate(others, rotation[:, count:])
        out_others = out[:, :, :0]
        if outputs:
            with beside(self):
                out_others = attend(others, k, v, rows_of(mask, count, None), dropout=dropout)
        if tap is not None:
            tapped = tap.fused(torch.cat((first, others), dim=2), k, v, mask, torch.cat((out, out_others), dim=2))
            out, out_others = tapped[:, :, :count], tapped[:, :, count:]
        if not rest:
            return (self.merge_heads(out),)
        return self.merge_heads(out), self.merge_heads(out_others)

    def project(self, query: Tensor, key: Tensor | None, value: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries ``[B, Q, key_dim]``, keys ``[B, K, key_dim]`` and values ``[B, K, value_dim]``."""
        if self.packed:
            if key is not None or value is not None:
                raise ValueError("a packed projection takes the query alone; build the attention with packed=False")
            q, k, v = self.qkv(query).split(self.widths, dim=-1)
            return q, k, v
        key = query if key is None else key
        return self.q(query), self.k(key), self.v(key if value is None else value)

    def split_heads(self, x: Tensor) -> Tensor:
        """``[B, N, H*d]`` -> ``[B, H, N, d]``."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def merge_heads(self, x: Tensor) -> Tensor:
        """``[B, H, N, e]`` -> ``[B, N, D]``, through the output projection."""
        return self.proj(x.transpose(1, 2).flatten(2))


def rows_of(mask: Tensor | None, start: int, end: int | None) -> Tensor | None:
    """The rows of some queries of a mask ``[..., Q, K]``, or of one that is the same for all queries."""
    return mask if mask is None or mask.shape[-2] == 1 else mask[..., start:end, :]


torch.fx.wrap("rows_of")


def beside(module: nn.Module) -> AbstractContextManager:
    """Restore the global random state on exit: what is computed in addition to the output draws no numbers from it."""
    return torch.random.fork_rng() if module.training else nullcontext()


def split_linear(linear: nn.Linear, widths: Sequence[int]) -> list[nn.Linear]:
    """Split a linear map ``[D, sum(widths)]`` into several that share its input; draws no random numbers."""
    parts: list[nn.Linear] = []
    start = 0
    for width in widths:
        part = nn.utils.skip_init(
            nn.Linear,
            linear.in_features,
            width,
            bias=linear.bias is not None,
            device=linear.weight.device,
            dtype=linear.weight.dtype,
        )
        assert isinstance(part, nn.Linear)
        with torch.no_grad():
            part.weight.copy_(linear.weight[start : start + width])
            if linear.bias is not None:
                part.bias.copy_(linear.bias[start : start + width])
        parts.append(part)
        start += width
    return parts


def zero_biases(module: nn.Module, kind: type[nn.Module]) -> None:
    """Set the biases of all linear maps inside the modules of a kind to 0.

    Args:
        module: the network.
        kind: :class:`MultiHeadAttention` as ``torch.nn.MultiheadAttention`` starts; ``nn.Linear`` for every linear map.
    """
    for parent in module.modules():
        if isinstance(parent, kind):
            for child in parent.modules():
                if isinstance(child, nn.Linear) and child.bias is not None:
                    nn.init.zeros_(child.bias)


def xavier_uniform(module: nn.Module) -> None:
    """Draw the matrices of all linear maps from Xavier's uniform distribution (Glorot and Bengio, 2010).

    Separate projections of one attention that share an input width count as rows of one matrix, as in
    ``torch.nn.MultiheadAttention``, so that they start as a packed projection does.
    """
    fan_out: dict[nn.Module, int] = {}
    for child in module.modules():
        if isinstance(child, MultiHeadAttention) and not child.packed and child.q.in_features == child.k.in_features:
            fan_out |= dict.fromkeys((child.q, child.k, child.v), sum(child.widths))
    for child in module.modules():
        if isinstance(child, nn.Linear):
            rows = fan_out.get(child, child.out_features)
            bound = math.sqrt(3.0) * math.sqrt(2.0 / (child.in_features + rows))
            nn.init.uniform_(child.weight, -bound, bound)
