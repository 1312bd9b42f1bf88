"""The precision of float32 matrix products (``torch.set_float32_matmul_precision``), measured on this machine.

On many CPUs PyTorch's default is far slower than oneDNN, which the settings "high" and "medium" use. Whether the result
stays exact depends on the processor: without bfloat16 matrix units the products are still float32, with them they are
not. Error and speed are therefore measured once, and the fastest exact setting applies only inside
:func:`matmul_precision`.
"""

import copy
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from saccade.nn.positions import rotary_positions
from saccade.nn.transformer import Block, BlockConfig

MatmulPrecision = Literal["highest", "high", "medium"]
PRECISIONS: tuple[MatmulPrecision, ...] = ("highest", "high", "medium")

LARGEST_ERROR = 1e-5  # relative to the output's scale, aspeedupst float64: about what float32 itself loses in a block
MAX_BATCH_SIZE = 64  # of the measurement: larger batches take longer and give the same answer
MAX_TOKENS = 1024  # of the measurement; a Perceiver has many more inputs, which do not attend to each other
MIN_SPEEDUP = 1.2  # in every round, for another setting than the default


@dataclass(frozen=True)
class MatmulPrecisionChoice:
    """The fastest exact setting, and a one-line summary of the measurement."""

    precision: MatmulPrecision
    reason: str


class _Setting:
    """PyTorch's setting is global to the process. The first thread that needs another one changes it, it stays while
    any thread needs it, and the last thread restores the caller's; threads that need different settings get the most
    exact."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.caller: str = "highest"
        self.active: list[MatmulPrecision] = []

    def enter(self, precision: MatmulPrecision) -> None:
        with self.lock:
            if not self.active:
                self.caller = torch.get_float32_matmul_precision()
            self.active.append(precision)
            torch.set_float32_matmul_precision(self._most_exact())

    def leave(self, precision: MatmulPrecision) -> None:
        with self.lock:
            self.active.remove(precision)
            torch.set_float32_matmul_precision(self._most_exact() if self.active else self.caller)

    def _most_exact(self) -> MatmulPrecision:
        return min(self.active, key=PRECISIONS.index)


_SETTING = _Setting()


@contextmanager
def matmul_precision(precision: MatmulPrecision) -> Iterator[None]:
    """Set the precision of float32 matrix products inside the ``with`` block; the caller's setting is restored
    afterwards, even if several threads are inside at once."""
    _SETTING.enter(precision)
    try:
        yield
    finally:
        _SETTING.leave(precision)


def choose_matmul_precision(
    device: torch.device | str = "cpu", model: nn.Module | None = None, *, batch_size: int = 1, rounds: int = 5
) -> MatmulPrecisionChoice:
    """Measure every setting on one block of a model and choose the fastest exact one.

    A whole block is measured because its parts differ: a setting that makes large products faster can make attention
    over few tokens several times slower. Measures the forward pass, and the backward pass if the model is in training
    mode.

    Args:
        device: on a CUDA device the default stays: there the other settings are TF32, whose error is 1e-3.
        model: its first :class:`Block` without cross-attention is measured; without one, or without a model, a block of
            ViT-S.
        batch_size: images of one call.
        rounds: a setting must be faster in each of them.
    """
    device = torch.device(device)
    if device.type != "cpu":
        return MatmulPrecisionChoice("highest", f"float32 matmul precision: highest on {device.type}")
    block, tokens = _example(model, min(batch_size, MAX_BATCH_SIZE))
    with torch.random.fork_rng(devices=[]):
        exact = _run(copy.deepcopy(block).double(), tokens.double())
        errors: dict[MatmulPrecision, float] = {}
        samples: dict[MatmulPrecision, list[float]] = {setting: [] for setting in PRECISIONS}
        for setting in PRECISIONS:
            with matmul_precision(setting):
                errors[setting] = ((_run(block, tokens) - exact).abs().max() / exact.abs().max()).item()
        for _ in range(rounds):  # interleaved, so that a slow moment of the machine hits every setting alike
            for setting in PRECISIONS:
                with matmul_precision(setting):
                    start = time.perf_counter()
                    _run(block, tokens)
                    samples[setting].append(time.perf_counter() - start)
    # The worst round counts: a shared machine may stall in any one of them, and a wrong choice costs a whole run.
    speedups = {p: min(base / own for base, own in zip(samples["highest"], samples[p])) for p in PRECISIONS}
    usable: list[MatmulPrecision] = [p for p in PRECISIONS if errors[p] <= LARGEST_ERROR and speedups[p] >= MIN_SPEEDUP]
    fastest: MatmulPrecision = max(usable, key=lambda p: speedups[p]) if usable else "highest"
    measured = ", ".join(f"{p} {speedups[p]:.2f}x with error {errors[p]:.0e}" for p in PRECISIONS)
    reason = f"float32 matmul precision: {fastest} (one block on {list(tokens.shape)}: {measured})"
    return MatmulPrecisionChoice(fastest, reason)


def _example(model: nn.Module | None, batch_size: int) -> tuple[Block, Tensor]:
    """A copy of the model's first block, and tokens ``[B, N, D]`` for it."""
    blocks = () if model is None else (m for m in model.modules() if isinstance(m, Block) and not m.cross_attention)
    first = next(iter(blocks), None)
    layout_of = getattr(model, "token_layout", None)
    layout = None if layout_of is None else layout_of()
    context_length = getattr(getattr(model, "config", None), "context_length", None)
    count = context_length if layout is None else layout.num_tokens
    if first is None or count is None:
        block, num_tokens = Block(BlockConfig(384, 6, 1536)).eval(), 197
    else:
        block, num_tokens = copy.deepcopy(first).cpu().requires_grad_(), min(count, MAX_TOKENS)
    width = block.norm1.normalized_shape[0]
    tokens = torch.randn(batch_size, num_tokens, width, generator=torch.Generator().manual_seed(0))
    return block, tokens


def _run(block: Block, tokens: Tensor) -> Tensor:
    """The block's output; in training mode its gradients are computed too."""
    torch.manual_seed(0)  # the same dropout every time
    with torch.set_grad_enabled(block.training):
        head_dim = block.attn.key_dim // block.attn.num_heads
        rotation = rotary_positions((1, tokens.shape[1]), head_dim) if block.rotary else None
        out = block(tokens, rotation=rotation)
        if block.training:
            torch.autograd.grad(out.sum(), list(block.parameters()))
    return out.detach()
