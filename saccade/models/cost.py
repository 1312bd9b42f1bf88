"""Cost of a model: parameters, multiply-adds, and the activations that training keeps for the backward pass.

The model runs once on fake tensors, which have shapes but no data, so even the largest model takes no memory.
`torch.utils.flop_counter` counts its matrix products, convolutions and attentions.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from saccade.models.detr_masks import BoxAttention
from saccade.models.model import Model
from saccade.nn.attention import Attention
from saccade.nn.mlp import Mlp
from saccade.nn.mode import evaluation_mode
from saccade.nn.saved_tensors import saved_storages
from saccade.nn.transformer import Block
from saccade.nn.windows import LocalAttention

# Their linear maps are modules of their own: what these multiply themselves are queries, keys, weights and values.
ATTENTIONS = (Attention, BoxAttention)


@dataclass(frozen=True)
class Cost:
    """A model's cost for one input.

    Attributes:
        params: number of parameters.
        macs: multiply-adds of every matrix product, convolution and attention, with all tokens through all blocks, as
            papers count; FLOPs are twice as many. A classifier that reads only the class token does less: in its last
            block it computes only what that token needs.
        attention_macs: multiply-adds of queries with keys and of weights with values, and with vectors of relative
            positions if an attention has them; without the projections. For global attention they grow with the square
            of the number of tokens; for axial and local attention more slowly.
        activation_bytes: bytes that a float32 training step keeps for the backward pass, per input of a batch; only
            what the step computes.
    """

    params: int
    macs: int
    attention_macs: int
    activation_bytes: int

    @property
    def gmacs(self) -> float:
        """Multiply-adds in units of 10⁹."""
        return self.macs / 1e9


@dataclass(frozen=True)
class PartCost:
    """Cost of one kind of computation in one part of a model, for one input.

    Attributes:
        part: path of a module, or of the list of a model's blocks; "" for the model itself.
        kind: within blocks "projections of attention", "scores and values of attention", "MLP" or "norms and others";
            "" outside of blocks.
        params: number of parameters; shared ones count where they occur first.
        macs: multiply-adds.
    """

    part: str
    kind: str
    params: int
    macs: int


def measure_cost(model: Model, size: tuple[int, int] | int | None = None, recomputed: Sequence[nn.Module] = ()) -> Cost:
    """The cost of one image of (H, W) pixels, or of one text of that many tokens; the config's size by default.

    Measured in evaluation mode, without the masks that dropout would keep. The model's weights, mode and gradients do
    not change.

    Args:
        model: the network.
        size: (H, W) in pixels, or number of tokens.
        recomputed: parts whose activations are recomputed in the backward pass, none inside another: their inputs
            count, and the activations of the largest part.
    """
    with _fake_run(model, size) as (run, own, counter):
        with saved_storages(recomputed) as (saved, parts):
            run()
        names = dict(model.named_modules())
        with counter, whole_blocks(model), _by_module(names, counter) as products:
            run()
    own_storage = {t.untyped_storage()._cdata for t in own}
    activation_bytes = sum(s.nbytes() for address, s in saved.items() if address not in own_storage)
    known = own_storage | saved.keys()
    activation_bytes += max((sum(s.nbytes() for a, s in part.items() if a not in known) for part in parts), default=0)
    explicit = sum(others for path, (_, others) in products.items() if isinstance(names[path], ATTENTIONS))
    return Cost(
        params=sum(p.numel() for p in model.parameters()),
        macs=counter.get_total_flops() // 2,
        attention_macs=sum(fused for fused, _ in products.values()) + explicit,
        activation_bytes=activation_bytes,
    )


def measure_parts(model: Model, size: tuple[int, int] | int | None = None) -> tuple[PartCost, ...]:
    """Parameters and multiply-adds by part, in the order of the modules; they sum to those of the model.

    Parts are the largest modules without transformer blocks, and the lists of blocks, divided by kind of computation. A
    product belongs to the innermost module that was called.
    """
    names = dict(model.named_modules())
    sums: dict[tuple[str, str], list[int]] = {}
    for path in names:
        for scores in (False, True):
            _add(sums, _part(names, path, scores), 0, 0)  # in the order of the modules
    for name, parameter in model.named_parameters():
        _add(sums, _part(names, name.rpartition(".")[0], False), parameter.numel(), 0)
    with (
        _fake_run(model, size) as (run, _, counter),
        counter,
        whole_blocks(model),
        _by_module(names, counter) as products,
    ):
        run()
    for path, (fused, others) in products.items():
        _add(sums, _part(names, path, True), 0, fused)
        _add(sums, _part(names, path, False), 0, others)
    return tuple(PartCost(*key, *values) for key, values in sums.items() if any(values))


def sized_inputs(model: Model, size: tuple[int, int] | int | None, batch_size: int = 1) -> tuple[Tensor, ...]:
    """Example inputs: images of (H, W) pixels, or texts of that many tokens; of the config's size by default."""
    if not isinstance(size, int):
        return model.example_inputs(batch_size, size)
    return tuple(tokens[:, :size] for tokens in model.example_inputs(batch_size))


@contextmanager
def _by_module(names: Mapping[str, nn.Module], counter: FlopCounterMode) -> Iterator[dict[str, tuple[int, int]]]:
    """Multiply-adds of a counted run by the innermost module that was called: path -> (of fused attentions, others)."""
    products: dict[str, tuple[int, int]] = {}
    stack, before = [""], [0, 0]  # modules that run; products of fused attentions and others so far

    def count() -> None:
        counts = counter.flop_counts["Global"]
        fused = sum(number for op, number in counts.items() if "scaled_dot_product" in str(op))
        now = [fused, sum(counts.values()) - fused]
        sums = products.get(stack[-1], (0, 0))
        products[stack[-1]] = (sums[0] + (now[0] - before[0]) // 2, sums[1] + (now[1] - before[1]) // 2)
        before[:] = now

    def enter(path: str) -> None:
        count()
        stack.append(path)

    def leave() -> None:
        count()
        stack.pop()

    handles = []
    for path, module in names.items():
        handles.append(module.register_forward_pre_hook(lambda *_, path=path: enter(path)))
        handles.append(module.register_forward_hook(lambda *_: leave()))
    try:
        yield products
        count()
    finally:
        for handle in handles:
            handle.remove()


def _add(sums: dict[tuple[str, str], list[int]], key: tuple[str, str], params: int, macs: int) -> None:
    values = sums.setdefault(key, [0, 0])
    values[0] += params
    values[1] += macs


def _part(names: dict[str, Any], path: str, scores: bool) -> tuple[str, str]:
    """(part, kind) of a module by its path."""
    steps = path.split(".") if path else []
    around = [".".join(steps[: n + 1]) for n in range(len(steps))]
    block = next((p for p in around if isinstance(names[p], Block)), None)
    if block is None:
        whole = next((p for p in around if not any(isinstance(m, Block) for m in names[p].modules())), path)
        return whole, ""
    part = block.rstrip("0123456789.") if block[-1].isdecimal() else block
    inside = [names[p] for p in around if p.startswith(block)]
    if any(isinstance(m, Attention) for m in inside):
        return part, "scores and values of attention" if scores else "projections of attention"
    return part, "MLP" if any(isinstance(m, Mlp) for m in inside) else "norms and others"


@contextmanager
def _fake_run(model: Model, size: tuple[int, int] | int | None) -> Iterator[Any]:
    """A function that runs the model on fake tensors, the weights and buffers that it uses, and the counter."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={fused: _fused_attention_flops})
    inputs = sized_inputs(model, size)
    # Fake tensors of the CPU take the fused attention that a real run takes, so that what it saves is right as well.
    with torch.enable_grad(), FakeTensorMode() as fake:
        weights = {name: torch.empty(p.shape, requires_grad=True) for name, p in model.named_parameters()}
        buffers = {name: torch.empty(b.shape, dtype=b.dtype) for name, b in model.named_buffers()}
        arguments = tuple(fake.from_tensor(tensor) for tensor in inputs)

        def run() -> None:
            # batch norm in training mode takes no single image
            with evaluation_mode(model):
                torch.func.functional_call(model, {**weights, **buffers}, arguments)

        yield run, (*weights.values(), *buffers.values()), counter


@contextmanager
def whole_blocks(model: Model) -> Iterator[None]:
    """Make every block compute all of its tokens, and local attention use matrix products, which counters register."""

    def all_tokens(block: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return args, {**kwargs, "leading": None}

    blocks = [module for module in model.modules() if isinstance(module, Block)]
    handles = [block.register_forward_pre_hook(all_tokens, with_kwargs=True) for block in blocks]
    windows = [module for module in model.modules() if isinstance(module, LocalAttention)]
    handles += [module.register_forward_pre_hook(lambda _, args: (*args[:1], True)) for module in windows]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _fused_attention_flops(
    query: Any, key: Any, value: Any, dropout_p: float = 0.0, is_causal: bool = False, *,
    attn_mask: Any = None, scale: float | None = None, out_shape: Any = None,
) -> int:  # fmt: skip
    """FLOPs of the CPU's fused attention from the shapes of its arguments; `torch` counts only the GPU's."""
    return sdpa_flop_count(query, key, value)
