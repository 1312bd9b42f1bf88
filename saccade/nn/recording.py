"""Look at what attends to what, without changing what comes out.

    with saccade.record(model, layers=[-1], queries=[0], budget="200 MB") as trace:
        logits = model(images)                    # the fused result, bit for bit the one without recording
    trace.attention["encoder.blocks.11.attn"]     # [B, heads, 1, keys], computed from the very q and k that ran

Every :class:`Attention` and :class:`Block` has a place for a tap, normally empty. A recording puts taps on those that
were asked for and takes them off at the end; nothing is replaced, and a model that nobody looks at pays nothing. Before
the model runs, a rehearsal with tensors that have shapes but no numbers finds how many bytes the recording needs; above
the budget it is refused there, not by the operating system.
"""

import fnmatch
import re
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from saccade.errors import RecordingError
from saccade.nn.attention import Attention, attention_weights
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import Block

Selection = Sequence[int | str]


@dataclass(repr=False)
class Trace:
    """What a recording holds: the last forward pass of the model.

    Attributes:
        attention: module path -> weights ``[B, heads, queries, keys]`` float32, for the chosen layers, heads and
            queries; rows sum to 1. A module that ran more than once has ``path``, ``path:1``, ``path:2`` …
        tokens: block path -> its output ``[B, N, D]``, for the chosen layers.
        layout: how the tokens lie over the image, where the model publishes it.
        nbytes: what the recording takes, known before the model computes anything.
        errors: module path -> max |weights @ v - fused output|, where ``record(verify=True)``.
    """

    attention: dict[str, Tensor] = field(default_factory=dict)
    tokens: dict[str, Tensor] = field(default_factory=dict)
    layout: TokenLayout | None = None
    nbytes: int = 0
    errors: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Paths and shapes, not the numbers."""
        tensors = [*self.attention.items(), *self.tokens.items()]
        lines = [f"{path}: {list(x.shape)}" for path, x in tensors]
        if len(lines) > 8:
            lines = [*lines[:4], f"… {len(lines) - 8} more", *lines[-4:]]
        title = f"Trace({len(self.attention)} attentions, {len(self.tokens)} blocks, {format_bytes(self.nbytes)})"
        return "\n  ".join([title, *lines])

    def clear(self) -> None:
        self.attention.clear()
        self.tokens.clear()
        self.errors.clear()
        self.nbytes = 0


@contextmanager
def record(
    model: nn.Module,
    layers: Selection | None = None,
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | None = None,
    *,
    budget: str | int = "4 GiB",
    tokens: bool = True,
    verify: bool = False,
) -> Iterator[Trace]:
    """Record attention weights and token activations of any model of this package while it runs.

    Args:
        model: any module that contains :class:`~saccade.nn.attention.Attention`. One under ``torch.compile`` runs
            eagerly for as long as it is recorded, so it equals its compiled self to rounding only; afterwards the
            compiled code goes on without compiling again.
        layers: which attentions, as indices in the order of the modules (-1 is the last) or as paths with wildcards
            (``"*.cross_attn"``); all unless given. Tokens are recorded for the blocks that hold them.
        heads: head indices; all unless given.
        queries: token indices of the queries, as :meth:`TokenLayout.index` gives them; all unless given.
        budget: refuse to record more, ``"500 MB"``, ``"4 GiB"`` or a number of bytes.
        tokens: whether to keep the blocks' outputs.
        verify: also compute ``weights @ v`` and keep its distance from the fused output in ``trace.errors``.

    Raises:
        RecordingError: no such layer, a recording inside a recording, or more bytes than the budget (before the run).
    """
    inner = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    attentions = _choose(inner, layers)
    blocks = {
        path: module
        for path, module in inner.named_modules()
        if tokens and isinstance(module, Block) and any(a == path or a.startswith(path + ".") for a in attentions)
    }
    recorder = _Recorder(heads, queries, parse_bytes(budget), verify)
    for path, module in [*attentions.items(), *blocks.items()]:
        if module.tap is not None:
            raise RecordingError(f"{path} is being recorded already; end that recording first")
    hook = None
    try:
        for path, attention in attentions.items():
            attention.tap = recorder.attention_tap(path)
        for path, block in blocks.items():
            block.tap = recorder.block_tap(path)
        hook = model.register_forward_pre_hook(recorder.begin, prepend=True, with_kwargs=True)
        with _eager_execution():
            yield recorder.trace
    finally:
        if hook is not None:
            hook.remove()
        for module in [*attentions.values(), *blocks.values()]:
            module.tap = None


def _eager_execution() -> AbstractContextManager:
    """Keep the compiler away from the taps: it would bake them into code that outlives the recording."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing the compiler takes seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


class _Recorder:
    """Makes the taps of one recording and counts what they take."""

    def __init__(self, heads: Sequence[int] | None, queries: Sequence[int] | None, budget: int, verify: bool):
        self.heads = None if heads is None else list(heads)
        self.queries = None if queries is None else list(queries)
        self.budget = budget
        self.verify = verify
        self.trace = Trace()
        self.sizes: dict[str, tuple[list[int], int]] = {}  # path -> shape, bytes
        self.rehearsing = False

    def begin(self, model: nn.Module, args: tuple, kwargs: dict) -> None:
        """Before each forward pass: forget the last one, rehearse this one, refuse it if it is too large."""
        if self.rehearsing:
            return
        inner = getattr(model, "_orig_mod", model)
        self.trace.clear()
        self.sizes.clear()
        self.rehearsing = True
        try:
            _run_without_numbers(inner, args, kwargs)
        finally:
            self.rehearsing = False
        self.trace.nbytes = sum(nbytes for _, nbytes in self.sizes.values())
        self._refuse_above_budget()
        layout_of = getattr(inner, "token_layout", None)
        images = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.ndim == 4), None)
        if layout_of is not None and images is not None:
            self.trace.layout = layout_of((images.shape[-2], images.shape[-1]))

    def attention_tap(self, path: str):
        def tap(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor) -> None:
            q, k, v, mask, out = self._select(q, k, v, mask, out)
            if isinstance(q, FakeTensor):
                self._count(path, [*q.shape[:3], k.shape[2]], 4)
                return
            with torch.no_grad():
                weights = attention_weights(q.float(), k.float(), mask)
                name = _unused(path, self.trace.attention)
                self.trace.attention[name] = weights
                if self.verify:
                    self.trace.errors[name] = (weights @ v.float() - out.float()).abs().max().item()

        return tap

    def block_tap(self, path: str):
        def tap(x: Tensor) -> None:
            if isinstance(x, FakeTensor):
                self._count(path, list(x.shape), x.element_size())
            else:
                self.trace.tokens[_unused(path, self.trace.tokens)] = x.detach().clone()

        return tap

    def _select(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor) -> tuple:
        num_heads, num_queries = q.shape[1], q.shape[2]
        if mask is not None:
            mask = mask.expand(q.shape[0], num_heads, num_queries, k.shape[2])
        for axis, name, indices in ((1, "head", self.heads), (2, "query", self.queries)):
            if indices is None:
                continue
            size = q.shape[axis]
            wrong = [i for i in indices if not -size <= i < size]
            if wrong:
                raise RecordingError(f"there is no {name} {wrong[0]}: they are 0 to {size - 1}")
            index = torch.tensor([i % size for i in indices], device=q.device)
            q, out = q.index_select(axis, index), out.index_select(axis, index)
            mask = None if mask is None else mask.index_select(axis, index)
            if axis == 1:
                k, v = k.index_select(axis, index), v.index_select(axis, index)
        return q, k, v, mask, out

    def _count(self, path: str, shape: list[int], bytes_each: int) -> None:
        nbytes = bytes_each
        for length in shape:
            nbytes *= int(length)
        self.sizes[_unused(path, self.sizes)] = ([int(length) for length in shape], nbytes)

    def _refuse_above_budget(self) -> None:
        if self.trace.nbytes <= self.budget:
            return
        largest = sorted(self.sizes.items(), key=lambda item: -item[1][1])[:3]
        listing = ", ".join(f"{path} {shape} {format_bytes(nbytes)}" for path, (shape, nbytes) in largest)
        raise RecordingError(
            f"this recording needs {format_bytes(self.trace.nbytes)} for {len(self.sizes)} tensors, the budget is "
            f"{format_bytes(self.budget)}. The largest: {listing}. Choose layers, heads or queries, or raise the budget"
        )


def _choose(model: nn.Module, layers: Selection | None) -> dict[str, Attention]:
    """The attentions that ``layers`` names, in the order of the model's modules."""
    paths = {path: m for path, m in model.named_modules() if isinstance(m, Attention)}
    if not paths:
        raise RecordingError(f"{type(model).__name__} has no attention to record")
    if layers is None:
        return paths
    names, selection = list(paths), set()
    for layer in layers:
        if isinstance(layer, int):
            if not -len(names) <= layer < len(names):
                raise RecordingError(f"there is no attention {layer}: they are 0 to {len(names) - 1}")
            matches = [names[layer]]
        else:
            matches = fnmatch.filter(names, layer)
        if not matches:
            raise RecordingError(f"no attention matches {layer!r}; there are {', '.join(names)}")
        selection.update(matches)
    return {path: module for path, module in paths.items() if path in selection}


def _run_without_numbers(model: nn.Module, args: tuple, kwargs: dict) -> None:
    """Run a model on tensors that have shapes, types and devices but no contents; its taps see the shapes.

    In evaluation mode, because training mode would draw random numbers and move the statistics of batch norm.
    """
    modes = {module: module.training for module in model.modules()}
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():

        def empty(x: object) -> object:
            return fake.from_tensor(x) if isinstance(x, Tensor) else x

        state: dict[str, Tensor] = {name: fake.from_tensor(p) for name, p in model.state_dict(keep_vars=True).items()}
        try:
            model.eval()
            torch.func.functional_call(
                model, state, tuple(empty(x) for x in args), {k: empty(x) for k, x in kwargs.items()}
            )
        finally:
            for module, training in modes.items():
                module.training = training


def _unused(path: str, names: Container[str]) -> str:
    """``path``, or ``path:1``, ``path:2`` … where a module runs more than once in a pass."""
    name, run = path, 0
    while name in names:
        run += 1
        name = f"{path}:{run}"
    return name


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def parse_bytes(size: str | int) -> int:
    """``"4 GiB"``, ``"500 MB"`` or a number of bytes -> bytes."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-zA-Z]*)\s*", size)
    if match is None or match[2].lower() not in _UNITS:
        raise RecordingError(f"{size!r} is no size; write for instance '500 MB' or '4 GiB'")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def format_bytes(nbytes: int) -> str:
    """Bytes for people, in decimal units: ``9.7 GB``."""
    size, unit = float(nbytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
