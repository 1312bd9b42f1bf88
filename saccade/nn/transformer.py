"""The transformer block (Vaswani et al. 2017, arXiv 1706.03762), and encoders and decoders built from it.

A block is attention followed by an MLP applied to each token separately, each with a residual connection:

    pre-norm    x = x + attention(norm(x));   x = x + mlp(norm(x))       ViT, CLIP, MAE
    post-norm   x = norm(x + attention(x));   x = norm(x + mlp(x))       the first Transformer, BERT, DETR

B batch, N tokens, M tokens of the memory, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from saccade.nn.attention import KVCache, MultiHeadAttention, beside
from saccade.nn.mlp import Activation, Mlp


class LayerScale(nn.Module):
    """A learned factor for each feature of a branch, small at the start (Touvron et al., arXiv 2103.17239)."""

    def __init__(self, dim: int, initial: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class StochasticDepth(nn.Module):
    """Skip a branch for a random subset of the batch in training (Huang et al., arXiv 1603.09382).

    Outputs of kept branches are divided by the probability of keeping them, so that the expected output is the same.
    """

    def __init__(self, probability: float):
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"the probability of dropping a branch must be in [0, 1), not {probability}")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        stays = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) < keep
        return x * (stays / keep).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.probability:g}"


class BlockTap(Protocol):
    """Hook that :func:`saccade.record` attaches to a block."""

    def active(self) -> bool:
        """Whether it records the forward pass of the current thread."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Called with the block's output ``[B, N, D]``; returns it."""
        ...


class BlockEdit(Protocol):
    """Hook that :func:`saccade.intervene` attaches to a block."""

    def active(self) -> bool:
        """Whether it changes the forward pass of the current thread."""
        ...

    def output(self, x: Tensor, out: Tensor) -> Tensor:
        """The block's input and output ``[B, N, D]`` -> the output to use."""
        ...


@dataclass(frozen=True)
class BlockConfig:
    """Configuration of a block, shared by every block of a model.

    Attributes:
        embed_dim: width D of a token.
        num_heads: attention heads; divides the width.
        mlp_dim: hidden width of the MLP, commonly 4 D.
        norm: position of the layer norms.
        norm_eps: value that they add to the variance. Published models differ: 1e-6 (Google, timm), 1e-5 (CLIP, DETR),
            1e-12 (Hugging Face ViT).
        activation: in the MLP; the tanh approximation of GELU is that of Google's code.
        qkv_bias: whether queries, keys and values have a bias.
        key_bias: whether keys have one where queries and values do. In a softmax over keys without rotary positions it
            cancels (DINOv3 has none).
        layer_scale: initial factor of the branches, None for none.
        dropout: dropout probability after each branch and inside the MLP.
        attention_dropout: dropout probability of the attention weights.
        key_dim: width of queries and keys over all heads; D by default.
        value_dim: width of values over all heads; D by default. If both are given, the number of heads need not divide
            D.
    """

    embed_dim: int
    num_heads: int
    mlp_dim: int
    norm: Literal["pre", "post"] = "pre"
    norm_eps: float = 1e-6
    activation: Activation = "gelu"
    qkv_bias: bool = True
    key_bias: bool = True
    layer_scale: float | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    key_dim: int | None = None
    value_dim: int | None = None

    def __post_init__(self) -> None:
        for width in (self.key_dim, self.value_dim):
            width = self.embed_dim if width is None else width
            if self.num_heads < 1 or width % self.num_heads:
                raise ValueError(f"a width of {width} cannot be split over {self.num_heads} heads")


class BlockCache(NamedTuple):
    """Cache of a decoder block between steps of autoregressive decoding."""

    attn: KVCache
    cross_attn: KVCache

    @classmethod
    def empty(cls) -> "BlockCache":
        return cls(KVCache(), KVCache())

    def select(self, rows: Tensor) -> "BlockCache":
        """The cache of some sequences of the batch, by index."""
        return BlockCache(self.attn.select(rows), self.cross_attn.select(rows))


class Block(nn.Module):
    """Self-attention, optionally cross-attention to a memory, and an MLP.

    Args:
        config: sizes and options.
        cross_attention: whether the tokens also attend to a memory (a decoder's block).
        positions: whether positions are added to the queries and keys of every attention and not to its values, as in
            DETR; self-attention then has separate projections.
        rotary: whether the self-attention has rotary positions.
        drop_path: probability of skipping a branch in training.
    """

    def __init__(
        self,
        config: BlockConfig,
        *,
        cross_attention: bool = False,
        positions: bool = False,
        rotary: bool = False,
        drop_path: float = 0.0,
    ):
        super().__init__()
        dim = config.embed_dim
        self.pre_norm = config.norm == "pre"
        self.cross_attention = cross_attention
        self.positions = positions
        self.rotary = rotary
        if rotary and (positions or cross_attention):
            raise ValueError("rotary positions are for blocks of self-attention without other positions")
        self.norm1 = nn.LayerNorm(dim, config.norm_eps)
        self.attn = make_attention(config, packed=not positions and config.key_bias)
        self.ls1 = _layer_scale(config)
        if cross_attention:
            self.norm_cross = nn.LayerNorm(dim, config.norm_eps)
            self.cross_attn = make_attention(config, packed=False)
            self.ls_cross = _layer_scale(config)
        self.norm2 = nn.LayerNorm(dim, config.norm_eps)
        self.mlp = Mlp(dim, config.mlp_dim, config.activation, config.dropout)
        self.ls2 = _layer_scale(config)
        self.dropout = nn.Dropout(config.dropout)
        self.drop_path = StochasticDepth(drop_path)
        self.tap: BlockTap | None = None  # set by saccade.record for the time of a recording
        self.edit: BlockEdit | None = None  # set by saccade.intervene for the time of an intervention

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        pos: Tensor | None = None,
        memory_pos: Tensor | None = None,
        rotation: Tensor | None = None,
        cache: BlockCache | None = None,
        leading: int | None = None,
    ) -> Tensor:
        """Tokens ``[B, N, D]`` -> ``[B, N, D]``, or ``[B, leading, D]``.

        Args:
            x: the tokens; with a cache the new ones alone.
            memory: ``[B, M, D]``, for a block with cross-attention.
            mask: which tokens may attend to which, as in :func:`saccade.nn.attention.attend`.
            memory_mask: likewise from tokens to memory.
            pos: positions ``[B, N, D]`` added to the queries and keys made from the tokens, not to the values; for a
                block with ``positions=True``.
            memory_pos: likewise for the keys made from the memory.
            rotation: rotary angles of queries and keys, ``[2, N, d / 2]``; for a block with ``rotary=True``.
            cache: keys and values of earlier tokens; the new ones are appended.
            leading: number of the first tokens whose output is needed; the others provide keys and values only. A
                classifier needs only the class token's output of its last block.

        Raises:
            ValueError: there is no memory for the cross-attention; ``pos``, ``rotation``, ``cache`` or ``leading`` does
                not fit.
        """

        def self_attention(x: Tensor) -> Tensor:
            if not self.positions:
                return self.attn(x, mask=mask, cache=None if cache is None else cache.attn, rotation=rotation)
            query = _add(x, pos)
            return self.attn(query, query, x, mask)

        def cross_attention(x: Tensor) -> Tensor:
            assert memory is not None  # checked below
            key = _add(memory, memory_pos)
            return self.cross_attn(_add(x, pos), key, memory, memory_mask, None if cache is None else cache.cross_attn)

        self._check(memory, pos, rotation, cache, leading)
        tap, edit = self.tap, self.edit  # read once: another thread may end its recording at any moment
        if leading is not None and not any(e is not None and e.active() for e in (edit, self.attn.edit)):
            return self._leading(x, leading, mask, rotation, tap)
        inputs = x
        x = self.residual(x, self.norm1, self_attention, self.ls1)
        if self.cross_attention:
            x = self.residual(x, self.norm_cross, cross_attention, self.ls_cross)
        x = self.residual(x, self.norm2, self.mlp, self.ls2)
        if edit is not None:
            x = edit.output(inputs, x)
        if tap is not None:
            x = tap(x)
        return x if leading is None else x[:, :leading]

    def _leading(
        self, x: Tensor, count: int, mask: Tensor | None, rotation: Tensor | None, tap: BlockTap | None
    ) -> Tensor:
        """The first tokens; for a recording the others are computed too, without changing the bits of the output."""
        recorded = tap is not None and tap.active()
        inputs = self.norm1(x) if self.pre_norm else x
        branches = self.attn.leading(inputs, count, mask, rotation, rest=recorded)
        first, others = x[:, :count], x[:, count:]
        first = self.add(first, branches[0], self.norm1, self.ls1)
        first = self.residual(first, self.norm2, self.mlp, self.ls2)
        if tap is None or not recorded:
            return first
        with beside(self):
            others = self.add(others, branches[1], self.norm1, self.ls1)
            others = self.residual(others, self.norm2, self.mlp, self.ls2)
        return tap(torch.cat((first, others), dim=1))[:, :count]

    def residual(self, x: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor], scale: nn.Module) -> Tensor:
        """``x + branch(norm(x))``, or ``norm(x + branch(x))`` with post-norm."""
        return self.add(x, branch(norm(x) if self.pre_norm else x), norm, scale)

    def add(self, x: Tensor, out: Tensor, norm: nn.Module, scale: nn.Module) -> Tensor:
        """The residual connection after a branch whose output is ``out``."""
        x = x + self.drop_path(scale(self.dropout(out)))
        return x if self.pre_norm else norm(x)

    def _check(
        self, memory: Tensor | None, pos: Tensor | None, rotation: Tensor | None, cache: object, leading: int | None
    ) -> None:
        if self.cross_attention and memory is None:
            raise ValueError("this block has cross-attention and needs a memory [B, M, D]")
        if pos is not None and not self.positions:
            raise ValueError("this block adds no positions in its attention; build it with positions=True")
        if self.rotary != (rotation is not None):
            raise ValueError("a block with rotary=True, and no other, needs the rotation [2, N, d / 2] of its tokens")
        if cache is not None and self.positions:
            raise ValueError("a block with positions in its attention has no cache")
        if leading is not None and (self.cross_attention or self.positions or cache is not None):
            raise ValueError("leading tokens alone come out of plain self-attention without a cache only")


class Encoded(NamedTuple):
    """Output of a stack of blocks."""

    tokens: Tensor  # [B, N, D] after the last block, or [B, leading, D]
    taps: tuple[Tensor, ...]  # [B, N, D] after each tapped block, in the order of the taps


class Encoder(nn.ModuleList):
    """A stack of blocks. A norm after the last block, if there is one, belongs to the model.

    Args:
        config: configuration of every block.
        depth: number of blocks.
        drop_path: probability of skipping a branch of the last block; it grows linearly from 0 at the first.
        positions: whether every attention adds positions to its queries and keys, see :class:`Block`.
        cross_attention: whether the blocks attend to a memory, which makes the stack a decoder.
        rotary: whether self-attention has rotary positions, see :class:`Block`.
    """

    def __init__(
        self,
        config: BlockConfig,
        depth: int,
        *,
        drop_path: float = 0.0,
        positions: bool = False,
        cross_attention: bool = False,
        rotary: bool = False,
    ):
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        super().__init__(
            Block(config, cross_attention=cross_attention, positions=positions, rotary=rotary, drop_path=rate)
            for rate in rates
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        taps: Sequence[int] = (),
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        pos: Tensor | None = None,
        memory_pos: Tensor | None = None,
        rotation: Tensor | None = None,
        caches: Sequence[BlockCache] | None = None,
        leading: int | None = None,
    ) -> Encoded:
        """Tokens ``[B, N, D]`` through every block; the other arguments as for :class:`Block`.

        Args:
            taps: indices of blocks (from 0) whose output is returned too.
            caches: one for each block.
            leading: number of the first tokens that are returned, see :class:`Block`; all by default.

        Raises:
            ValueError: a tap is not the index of a block.
        """
        unknown = [i for i in taps if not 0 <= i < len(self)]
        if unknown:
            raise ValueError(f"there is no block {unknown[0]}: the blocks are 0 to {len(self) - 1}")
        outputs, whole = {}, {*taps, *range(len(self) - 1)}  # blocks that all tokens leave
        for i, block in enumerate(self):
            x = block(
                x, memory, mask=mask, memory_mask=memory_mask, pos=pos, memory_pos=memory_pos,
                rotation=rotation, cache=None if caches is None else caches[i], leading=None if i in whole else leading,
            )  # fmt: skip
            if i in taps:
                outputs[i] = x
        return Encoded(x if leading is None else x[:, :leading], tuple(outputs[i] for i in taps))


class Decoder(Encoder):
    """A stack of blocks with cross-attention: tokens attend to each other, then to a memory."""

    def __init__(self, config: BlockConfig, depth: int, *, drop_path: float = 0.0, positions: bool = False):
        super().__init__(config, depth, drop_path=drop_path, positions=positions, cross_attention=True)

    def empty_caches(self) -> list[BlockCache]:
        """Caches for the first step of autoregressive decoding, one for each block."""
        return [BlockCache.empty() for _ in self]


def make_attention(config: BlockConfig, *, packed: bool) -> MultiHeadAttention:
    """The attention of a block; ``packed`` as in :class:`~saccade.nn.attention.MultiHeadAttention`."""
    return MultiHeadAttention(
        config.embed_dim, config.num_heads, packed=packed, key_dim=config.key_dim,
        value_dim=config.value_dim, qkv_bias=config.qkv_bias, key_bias=config.key_bias,
        dropout=config.attention_dropout,
    )  # fmt: skip


def _layer_scale(config: BlockConfig) -> nn.Module:
    return nn.Identity() if config.layer_scale is None else LayerScale(config.embed_dim, config.layer_scale)


def _add(x: Tensor, pos: Tensor | None) -> Tensor:
    return x if pos is None else x + pos
