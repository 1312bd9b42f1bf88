"""Record attention weights and tokens without changing a model's output.

    with saccade.record(model, layers=[-1], queries=[0], budget="200 MB") as trace:
        logits = model(images)                    # the fused result, bit for bit the one without recording
    trace.attention["encoder.blocks.11.attn"]     # [B, heads, 1, keys], computed from the q and k of this run

Every :class:`Attention` and :class:`Block` has a slot for a tap, normally empty. A recording attaches taps to the
chosen ones and removes them at the end; nothing is replaced, and a model that is not recorded has no overhead. A tap
compares the size of the tensor that it will store with the budget before it allocates anything.

With autograd enabled, recorded tensors are part of the graph, like every other tensor: the output depends on the
recorded weights and tokens, and ``torch.autograd.grad(logits[0, c], weights)`` is the gradient that relevance maps
need.
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import RecordingError
from saccade.nn.attention import Attention, attention_weights
from saccade.nn.passes import Selection, choose_layers, eager_execution, on_pass
from saccade.nn.trace import PassView, Trace, TraceStore, Viewer, parse_bytes, unused_name
from saccade.nn.transformer import Block

LOCK = threading.Lock()  # held while a tap is put on or taken off


@contextmanager
def record(
    model: nn.Module,
    layers: Selection | None = None,
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | None = None,
    *,
    budget: str | int = "4 GiB",
    tokens: bool = True,
    grad: bool = True,
    verify: bool = False,
    viewer: Viewer | None = None,
) -> Iterator[Trace]:
    """Record attention weights and token activations of any model of this package while it runs.

    A recording belongs to its thread: passes of other threads through the same model run as without it, and other
    threads may record the model at the same time.

    Args:
        model: any module that contains :class:`~saccade.nn.attention.Attention`. One under ``torch.compile`` runs
            eagerly while it is recorded, so its output equals that of the compiled model up to rounding; afterwards the
            compiled code is used again without recompilation.
        layers: which attention modules, as indices in the order of the modules (-1 is the last) or as paths with
            wildcards (``"*.cross_attn"``); all by default. Tokens are recorded for the blocks that hold them.
        heads: head indices; all by default.
        queries: token indices of the queries, as :meth:`TokenLayout.index` gives them; all by default.
        budget: maximum size of the recording, ``"500 MB"``, ``"4 GiB"`` or a number of bytes.
        tokens: whether to record the blocks' outputs.
        grad: whether the output depends on the recorded tensors in the autograd graph, if autograd is enabled. The
            output is bitwise identical either way; gradients of parameters then come from ``weights @ v`` instead of
            the fused kernel, which differs by rounding. Attention weights of a layer that drops some of them at random
            (training with ``attention_dropout``) have no gradient.
        verify: also compute ``weights @ v`` and keep its distance from the fused output in ``trace.errors``.
        viewer: what ``trace.show()`` calls; that of the explorer in the public :func:`saccade.record`. With it, a trace
            of all heads and queries refers to the images of the last pass.

    Raises:
        RecordingError: no such layer, a recording inside a recording, or more bytes than the budget (from the model's
            call, before the tensor above the budget is allocated).
    """
    inner = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    attentions = choose_layers(inner, Attention, "attention", layers)
    blocks = _blocks_of(inner, attentions) if tokens else {}
    store = TraceStore(parse_bytes(budget), [*attentions, *blocks])
    layout_of = getattr(inner, "token_layout", None)

    def begin(images: Tensor | None) -> None:
        store.clear()
        if viewer is not None and images is not None and heads is None and queries is None:
            store.trace.view = PassView(viewer, inner, images)
        if layout_of is not None and images is not None:
            store.trace.layout = layout_of((images.shape[-2], images.shape[-1]))

    with ExitStack() as stack:
        for path, attention in attentions.items():
            tap = _AttentionTap(path, attention, store, _Rows(heads, queries), grad, verify)
            stack.enter_context(_tapped(path, attention, _AttentionTaps, tap))
        for path, block in blocks.items():
            stack.enter_context(_tapped(path, block, _BlockTaps, _BlockTap(path, store, grad)))
        stack.enter_context(on_pass(model, begin))
        stack.enter_context(eager_execution())
        yield store.trace


def _blocks_of(model: nn.Module, attentions: Collection[str]) -> dict[str, Block]:
    """Path -> block, of the blocks that contain one of the attention modules."""
    holders = {path.rsplit(".", i)[0] for path in attentions for i in range(path.count(".") + 1)}
    return {path: module for path, module in model.named_modules() if path in holders and isinstance(module, Block)}


class _Taps:
    """The taps of one module, one per recording thread."""

    def __init__(self, by_thread: dict[int, Any]):
        self.by_thread = by_thread

    def own(self) -> Any:
        """The current thread's tap; None if it does not record."""
        return self.by_thread.get(threading.get_ident())


class _AttentionTaps(_Taps):
    """See :class:`saccade.nn.attention.AttentionTap`."""

    def fused(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
        tap = self.own()
        return out if tap is None else tap.fused(q, k, v, mask, out)

    def explicit(self, weights: Tensor) -> Tensor:
        tap = self.own()
        return weights if tap is None else tap.explicit(weights)

    def needs_rest(self, count: int) -> tuple[bool, bool]:
        tap = self.own()
        return (False, False) if tap is None else tap.needs_rest(count)


class _BlockTaps(_Taps):
    """See :class:`saccade.nn.transformer.BlockTap`."""

    def active(self) -> bool:
        return self.own() is not None

    def __call__(self, x: Tensor) -> Tensor:
        tap = self.own()
        return x if tap is None else tap(x)


@contextmanager
def _tapped(path: str, module: Any, kind: type[_Taps], tap: Any) -> Iterator[None]:
    """Attach the current thread's tap to a module, in addition to those of other threads."""
    thread = threading.get_ident()
    with LOCK:
        others = {} if module.tap is None else module.tap.by_thread
        if thread in others:
            raise RecordingError(f"{path} is being recorded already; end that recording first")
        module.tap = kind({**others, thread: tap})
    try:
        yield
    finally:
        with LOCK:
            rest = {other: tap for other, tap in module.tap.by_thread.items() if other != thread}
            module.tap = kind(rest) if rest else None


class _Rows:
    """The heads and queries that are recorded of ``[B, H, Q, ...]``; None for all."""

    def __init__(self, heads: Sequence[int] | None, queries: Sequence[int] | None):
        self.indices = {1: ("head", heads), 2: ("query", queries)}

    def index(self, x: Tensor, axis: int) -> Tensor | None:
        """Indices along an axis of a tensor that contains all of them, or None for all.

        Raises:
            RecordingError: a head or query does not exist or is repeated.
        """
        name, indices = self.indices[axis]
        if indices is None:
            return None
        size = x.shape[axis]
        for i in indices:
            if not -size <= i < size:
                raise RecordingError(f"there is no {name} {i}: they are 0 to {size - 1}")
        positive = [i % size for i in indices]
        if len(set(positive)) < len(positive):
            raise RecordingError(f"a {name} is given twice: {list(indices)}")
        return torch.tensor(positive, device=x.device)

    def select(self, x: Tensor, axes: Sequence[int] = (1, 2)) -> Tensor:
        for axis in axes:
            index = self.index(x, axis)
            x = x if index is None else x.index_select(axis, index)
        return x

    def outside(self, x: Tensor) -> Tensor:
        """``x`` with zeros in the rows that are recorded."""
        inside = torch.zeros(x.shape[1:3], dtype=torch.bool, device=x.device)
        heads, queries = (self.index(x, axis) for axis in (1, 2))
        every = slice(None)
        rows = inside[every if heads is None else heads]
        rows[:, every if queries is None else queries] = True
        inside[every if heads is None else heads] = rows
        return x.masked_fill(inside[..., None], 0.0)


class _AttentionTap:
    """Records one attention, see :class:`saccade.nn.attention.AttentionTap`."""

    def __init__(self, path: str, attention: Attention, store: TraceStore, rows: _Rows, grad: bool, verify: bool):
        self.path, self.attention, self.store, self.rows = path, attention, store, rows
        self.grad, self.verify = grad, verify

    def fused(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
        if mask is not None:
            mask = self.rows.select(mask.expand(*q.shape[:3], k.shape[2]))
        q, k, v = self.rows.select(q), self.rows.select(k, [1]), self.rows.select(v, [1])
        self.store.reserve(self.path, [*q.shape[:3], k.shape[2]], 4)
        drops = self.attention.training and getattr(self.attention, "dropout", 0.0) > 0
        in_graph = self.grad and not drops and torch.is_grad_enabled() and out.requires_grad
        with nullcontext() if in_graph else torch.no_grad():
            weights = attention_weights(q.float(), k.float(), mask)
        name = unused_name(self.path, self.store.trace.attention)
        self.store.trace.attention[name] = weights
        if self.verify:
            difference = weights.detach() @ v.detach().float() - self.rows.select(out.detach()).float()
            self.store.trace.errors[name] = difference.abs().max().item()
        return _ThroughWeights.apply(out, weights, v.float(), self.rows) if in_graph else out

    def explicit(self, weights: Tensor) -> Tensor:
        rows = self.rows.select(weights).float()
        self.store.reserve(self.path, rows.shape, 4)
        name = unused_name(self.path, self.store.trace.attention)
        in_graph = self.grad and torch.is_grad_enabled() and weights.requires_grad
        self.store.trace.attention[name] = rows if in_graph else rows.detach().clone()
        if self.verify:
            self.store.trace.errors[name] = 0.0  # these are the weights that were used
        return _Replaced.apply(weights, rows, self.rows) if in_graph else weights

    def needs_rest(self, count: int) -> tuple[bool, bool]:
        queries = self.rows.indices[2][1]
        behind = queries is None or any(not 0 <= i < count for i in queries)
        return behind, behind and (self.verify or (self.grad and torch.is_grad_enabled()))


class _ThroughWeights(torch.autograd.Function):
    """The fused output ``[B, H, Q, e]`` with the gradients of ``weights @ v`` in the recorded rows."""

    @staticmethod
    def forward(out: Tensor, weights: Tensor, v: Tensor, rows: _Rows) -> Tensor:
        return out.view_as(out)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, _Rows], output: Tensor) -> None:
        _, weights, v, ctx.rows = inputs
        ctx.save_for_backward(weights, v)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        weights, v = ctx.saved_tensors
        inside = ctx.rows.select(grad).to(weights.dtype)
        return ctx.rows.outside(grad), inside @ v.transpose(-2, -1), weights.transpose(-2, -1) @ inside, None


class _Replaced(torch.autograd.Function):
    """Weights ``[B, H, Q, K]`` whose recorded rows receive the gradient."""

    @staticmethod
    def forward(weights: Tensor, recorded: Tensor, rows: _Rows) -> Tensor:
        return weights.view_as(weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, _Rows], output: Tensor) -> None:
        ctx.rows = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return ctx.rows.outside(grad), ctx.rows.select(grad).float(), None


class _BlockTap:
    """Records the output of one block."""

    def __init__(self, path: str, store: TraceStore, grad: bool):
        self.path, self.store, self.grad = path, store, grad

    def __call__(self, x: Tensor) -> Tensor:
        self.store.reserve(self.path, x.shape, x.element_size())
        in_graph = self.grad and torch.is_grad_enabled() and x.requires_grad
        name = unused_name(self.path, self.store.trace.tokens)
        self.store.trace.tokens[name] = x if in_graph else x.detach().clone()
        return x
