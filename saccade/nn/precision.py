"""How exactly this machine multiplies float32 matrices, and how fast.

PyTorch can multiply float32 matrices in more than one way. On many CPUs the default is far slower than the library
beside it (oneDNN), which ``torch.set_float32_matmul_precision`` switches on; whether that stays exact depends on the
processor: without bfloat16 matrix units it is float32 all the same, with them it is not. So the choice is measured
on the machine at hand, once, and applies only inside :func:`fast_products`.
"""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from saccade.nn.transformer import Block, BlockConfig

Products = Literal["highest", "high", "medium"]
WAYS: tuple[Products, ...] = ("highest", "high", "medium")

LARGEST_ERROR = 1e-5  # of the output's scale, against float64: what float32 itself may lose in such a product
MOST_IMAGES = 64  # of the batch that is measured: more take longer and tell nothing else
MOST_TOKENS = 1024  # of the block that is measured; a Perceiver's inputs are many more, and attend to nothing
SMALLEST_GAIN = 1.2  # a faster way must be faster by this factor in every round; below it the default stays


@dataclass(frozen=True)
class ProductsChoice:
    """The way to multiply that was chosen, and the measurement behind it in one line."""

    products: Products
    reason: str


@contextmanager
def fast_products(products: Products) -> Iterator[None]:
    """Multiply float32 matrices that way inside the block; the caller's own setting returns after it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(products)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose_products(
    device: torch.device | str = "cpu", model: nn.Module | None = None, *, batch_size: int = 1, rounds: int = 5
) -> ProductsChoice:
    """Measure the ways to multiply on one block of a model and take the fastest exact one.

    A whole block, because its parts disagree: a way that makes large products faster can make attention over few
    tokens several times slower. Forward, and backward if the model is in training mode.

    Args:
        device: on a CUDA device the default stays: there the other ways are TF32, whose error is 1e-3.
        model: its first :class:`Block` without cross-attention is measured; without one, or without a model, one of
            ViT-S.
        batch_size: images of one call.
        rounds: a way must be faster in each of them.
    """
    device = torch.device(device)
    if device.type != "cpu":
        return ProductsChoice("highest", f"float32 products stay exact on {device.type}")
    block, tokens = _example(model, min(batch_size, MOST_IMAGES))
    with torch.random.fork_rng(devices=[]):
        exact = _run(copy.deepcopy(block).double(), tokens.double())
        errors: dict[Products, float] = {}
        samples: dict[Products, list[float]] = {way: [] for way in WAYS}
        for way in WAYS:
            with fast_products(way):
                errors[way] = ((_run(block, tokens) - exact).abs().max() / exact.abs().max()).item()
        for _ in range(rounds):  # interleaved, so that a slow moment of the machine hits every way alike
            for way in WAYS:
                with fast_products(way):
                    start = time.perf_counter()
                    _run(block, tokens)
                    samples[way].append(time.perf_counter() - start)
    # The worst round counts: a shared machine may stall in any one of them, and a wrong choice costs a whole run.
    gains = {way: min(base / own for base, own in zip(samples["highest"], samples[way])) for way in WAYS}
    candidates: list[Products] = [way for way in WAYS if errors[way] <= LARGEST_ERROR and gains[way] >= SMALLEST_GAIN]
    fastest: Products = max(candidates, key=lambda way: gains[way]) if candidates else "highest"
    measured = ", ".join(f"{way} {gains[way]:.2f}x with error {errors[way]:.0e}" for way in WAYS)
    return ProductsChoice(fastest, f"float32 products: {fastest} (one block on {list(tokens.shape)}: {measured})")


def _example(model: nn.Module | None, batch_size: int) -> tuple[Block, Tensor]:
    """A copy of the model's first block, and tokens ``[B, N, D]`` for it."""
    blocks = () if model is None else (m for m in model.modules() if isinstance(m, Block) and not m.cross_attention)
    found = next(iter(blocks), None)
    layout_of = getattr(model, "token_layout", None)
    layout = None if layout_of is None else layout_of()
    words = getattr(getattr(model, "config", None), "context_length", None)
    count = words if layout is None else layout.num_tokens
    if found is None or count is None:
        block, num_tokens = Block(BlockConfig(384, 6, 1536)).eval(), 197
    else:
        block, num_tokens = copy.deepcopy(found).cpu().requires_grad_(), min(count, MOST_TOKENS)
    width = block.norm1.normalized_shape[0]
    tokens = torch.randn(batch_size, num_tokens, width, generator=torch.Generator().manual_seed(0))
    return block, tokens


def _run(block: Block, tokens: Tensor) -> Tensor:
    """The block's output, and its gradients in passing if it is in training mode."""
    torch.manual_seed(0)  # the same dropout every time
    with torch.set_grad_enabled(block.training):
        out = block(tokens)
        if block.training:
            torch.autograd.grad(out.sum(), list(block.parameters()))
    return out.detach()


def best_layout(model: nn.Module) -> torch.memory_format:
    """How a model's 4-d weights lie in memory: where most of the work is convolutions, a place's channels side by side,
    which trained small detectors 1.2 times as fast on two cores; with a patch embedding alone it changes nothing."""
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    return torch.channels_last if convolutions > 4 else torch.contiguous_format
