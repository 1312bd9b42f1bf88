"""How exactly this machine multiplies float32 matrices, and how fast.

PyTorch can multiply float32 matrices in more than one way. On many CPUs the default is far slower than the library
beside it (oneDNN), which ``torch.set_float32_matmul_precision`` switches on; whether that stays exact depends on the
processor: without bfloat16 matrix units it is float32 all the same, with them it is not. So the choice is measured
on the machine at hand, once, and applies only inside :func:`fast_products`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

Products = Literal["highest", "high", "medium"]

LARGEST_ERROR = 1e-5  # of the output's scale, against float64: what float32 itself may lose in such a product
SMALLEST_GAIN = 1.1  # a faster way must be faster by this factor; below it the default stays


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


def choose_products(device: torch.device | str = "cpu", rounds: int = 7) -> ProductsChoice:
    """Measure the ways to multiply on a product of a ViT's size (about 50 ms) and take the fastest exact one.

    On a CUDA device the default stays: there the other ways are TF32, whose error is 1e-3.
    """
    device = torch.device(device)
    if device.type != "cpu":
        return ProductsChoice("highest", f"float32 products stay exact on {device.type}")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(394, 384, generator=generator)
    weight = torch.randn(1536, 384, generator=generator)
    exact = x.double() @ weight.double().T
    seconds: dict[Products, float] = {}
    errors: dict[Products, float] = {}
    ways: tuple[Products, ...] = ("highest", "high", "medium")
    with torch.no_grad():
        for products in ways:
            with fast_products(products):
                errors[products] = ((F.linear(x, weight) - exact).abs().max() / exact.abs().max()).item()
        samples: dict[Products, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):  # interleaved, so that a slow moment of the machine hits every way alike
            for products in ways:
                with fast_products(products):
                    start = time.perf_counter()
                    F.linear(x, weight)
                    samples[products].append(time.perf_counter() - start)
    seconds = {way: sorted(times)[rounds // 2] for way, times in samples.items()}
    exact_ways = [way for way in ways if errors[way] <= LARGEST_ERROR]
    fastest = min(exact_ways, key=lambda way: seconds[way], default="highest")
    if seconds["highest"] < SMALLEST_GAIN * seconds[fastest]:
        fastest = "highest"
    measured = ", ".join(f"{way} {seconds['highest'] / seconds[way]:.2f}x with error {errors[way]:.0e}" for way in ways)
    return ProductsChoice(fastest, f"float32 products: {fastest} ({measured})")
