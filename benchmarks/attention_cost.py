"""What seeing costs as the image grows: global, axial and local attention, and latents that read, on ever larger maps.

    python benchmarks/attention_cost.py [--image docs/images/attention-cost.png]

Each way has the same width and heads and runs one layer (axial: columns, then rows) on a map [1, 64, s, s]. Interleaved
rounds, medians. The exponent is the slope of log time over log places, over the maps of 32 x 32 places and more.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from machine import describe
from torch import Tensor, nn

from saccade.models.perceiver import CrossBlock
from saccade.nn.attention import MultiHeadAttention
from saccade.nn.windows import AxialAttention, LocalAttention

WIDTH, HEADS = 64, 8
SIDES = (8, 16, 24, 32, 48, 64, 96)
SPAN, WINDOW, LATENTS = 16, 7, 64


class Latent(nn.Module):
    """A Perceiver's look at a map: some latents ask all of its places."""

    def __init__(self):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, LATENTS, WIDTH))
        self.block = CrossBlock(WIDTH, WIDTH, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.latents, x.flatten(2).transpose(1, 2))


class Global(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = MultiHeadAttention(WIDTH, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x.flatten(2).transpose(1, 2))


def ways() -> dict[str, nn.Module]:
    def axial(span: int) -> nn.Module:
        return nn.Sequential(AxialAttention(WIDTH, 2, HEADS, span), AxialAttention(WIDTH, 3, HEADS, span))

    return {
        "global": Global(),
        "axial, whole rows and columns": axial(max(SIDES)),
        f"axial, span {SPAN}": axial(SPAN),
        f"local, {WINDOW} x {WINDOW}": LocalAttention(WIDTH, WIDTH, 1, HEADS, WINDOW),
        f"{LATENTS} latents": Latent(),
    }


@torch.inference_mode()
def seconds(run: Callable[[Tensor], Tensor], x: Tensor) -> float:
    start = time.perf_counter()
    run(x)
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, list[float]]:
    """Median seconds of each way on each map."""
    medians: dict[str, list[float]] = {name: [] for name in ways()}
    modules = {name: module.eval() for name, module in ways().items()}
    for side in SIDES:
        x = torch.randn(1, WIDTH, side, side)
        times: dict[str, list[float]] = {name: [] for name in modules}
        for round_number in range(rounds + 1):  # the first warms up
            for name, module in modules.items():
                once = seconds(module, x)
                if round_number:
                    times[name].append(once)
        for name, samples in times.items():
            medians[name].append(statistics.median(samples))
    return medians


def exponent(times: list[float]) -> float:
    large = [i for i, side in enumerate(SIDES) if side >= 32]
    places = np.log([SIDES[i] ** 2 for i in large])
    return float(np.polyfit(places, np.log([times[i] for i in large]), 1)[0])


def draw(medians: dict[str, list[float]], path: Path) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), dpi=150, layout="constrained")
    for name, times in medians.items():
        label = f"{name}: $N^{{{exponent(times):.2f}}}$"
        axes.plot([side**2 for side in SIDES], [1000 * t for t in times], marker="o", markersize=4, label=label)
    axes.set(xscale="log", yscale="log", xlabel="places N of the map", ylabel="milliseconds of one layer")
    axes.legend(frameon=False, fontsize=9)
    axes.set_xticks([side**2 for side in SIDES], [f"{side}²" for side in SIDES], minor=False)
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--image", type=Path, help="where to draw the curve")
    options = parser.parse_args()
    torch.manual_seed(0)
    medians = measure(options.rounds)
    print(f"{describe()}; {options.rounds} rounds\n")
    print("| attention | " + " | ".join(f"{side}²" for side in SIDES) + " | grows as |")
    print("| --- |" + " --- |" * (len(SIDES) + 1))
    for name, times in medians.items():
        cells = " | ".join(f"{1000 * t:.1f}" for t in times)
        print(f"| {name} | {cells} | N^{exponent(times):.2f} |")
    if options.image:
        draw(medians, options.image)


if __name__ == "__main__":
    main()
