"""What seeing costs as the image grows: global, axial and local attention, and latents that read, on ever larger maps.

    python benchmarks/attention_cost.py [--image docs/images/attention-cost.png] [--lab]

Each way has the same width and heads and runs one layer (axial: columns, then rows) on a map [1, 64, s, s].
Multiply-adds are counted; times are processor times on one thread, interleaved rounds, medians. The exponent is the
slope of log time over log places, over the maps of 32 x 32 places and more. `--lab` writes
docs/lab/attention_range-cost.csv, from which `benchmarks/lab_pages.py` makes a figure and tables.
"""

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import matplotlib
import numpy as np
import torch
from machine import describe
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from saccade.models.perceiver import CrossBlock
from saccade.nn.attention import MultiHeadAttention
from saccade.nn.windows import AxialAttention, LocalAttention

WIDTH, HEADS = 64, 8
SIDES = (8, 16, 24, 32, 48, 64, 96)
SPAN, WINDOWS, LATENTS = 16, (3, 7), 64
LAB = Path(__file__).parents[1] / "docs" / "lab"


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
        **{f"local, {side} x {side}": LocalAttention(WIDTH, WIDTH, 1, HEADS, side) for side in WINDOWS},
        f"{LATENTS} latents": Latent(),
    }


@torch.inference_mode()
def seconds(run: Callable[[Tensor], Tensor], x: Tensor) -> float:
    start = time.process_time()
    run(x)
    return time.process_time() - start


def multiply_adds() -> dict[str, list[int]]:
    """Of each way on each map, projections included. On the meta device no attention is fused, so all is counted."""
    with torch.device("meta"):
        modules = ways()
    counts: dict[str, list[int]] = {name: [] for name in modules}
    for side in SIDES:
        for name, module in modules.items():
            with FlopCounterMode(display=False) as counter:
                x = torch.empty(1, WIDTH, side, side, device="meta")
                module.eval()(x, True) if isinstance(module, LocalAttention) else module.eval()(x)
            counts[name].append(counter.get_total_flops() // 2)
    return counts


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
    axes.set(xscale="log", yscale="log", xlabel="places N of the map", ylabel="processor time of one layer (ms)")
    axes.legend(frameon=False, fontsize=9)
    axes.set_xticks([side**2 for side in SIDES], [f"{side}²" for side in SIDES], minor=False)
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    figure.savefig(path)


def write_table(counts: dict[str, list[int]], medians: dict[str, list[float]], rounds: int) -> None:
    """Multiply-adds and milliseconds of each way on each map, and where they were measured."""
    with open(LAB / "attention_range-cost.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["attention", "side", "macs", "cpu_ms"])
        for name, numbers in counts.items():
            for side, macs, median in zip(SIDES, numbers, medians[name]):
                writer.writerow([name, side, macs, f"{1000 * median:.4g}"])
    about = {
        "machine": f"one of {describe().rsplit(', ', 1)[0]}", "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "rounds": rounds, "width": WIDTH, "heads": HEADS,
    }  # fmt: skip
    (LAB / "attention_range-cost.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--image", type=Path, help="where to draw the curve")
    parser.add_argument("--lab", action="store_true", help="write the table of docs/lab-attention-range.md")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    counts, medians = multiply_adds(), measure(options.rounds)
    if options.lab:
        write_table(counts, medians, options.rounds)
    print(f"{describe()}; {options.rounds} rounds\n")
    print("| attention | " + " | ".join(f"{side}²" for side in SIDES) + " | grows as |")
    print("| --- |" + " --- |" * (len(SIDES) + 1))
    for name, times in medians.items():
        cells = " | ".join(f"{1000 * t:.1f}" for t in times)
        print(f"| {name} | {cells} | N^{exponent(times):.2f} |")
    print("\n| multiply-adds (M) | " + " | ".join(f"{side}²" for side in SIDES) + " |")
    print("| --- |" + " --- |" * len(SIDES))
    for name, numbers in counts.items():
        print(f"| {name} | " + " | ".join(f"{number / 1e6:.1f}" for number in numbers) + " |")
    if options.image:
        draw(medians, options.image)


if __name__ == "__main__":
    main()
