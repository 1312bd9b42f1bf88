"""Time and memory of a training step as images and batches grow: global, local and axial attention, and a Perceiver.

    python -m benchmarks.growth [--json benchmarks/results/growth.json] [--chart docs/images/growth.png]

One layer of width 64 with 8 heads on the map of an image in patches of 16 x 16, forward and backward, one thread. Each
cell is a process of its own with a limit of processor time and of memory; what exceeds one is where that attention
breaks. Predictions come from counts alone: multiply-adds times the seconds of one at 256 pixels, batch 1; and the bytes
that the backward pass keeps. A cell that is predicted to exceed a limit four times over is not run.
"""

import argparse
import json
import math
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import matplotlib as mpl
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import describe
from saccade.models.perceiver import CrossBlock
from saccade.nn.attention import MultiHeadAttention
from saccade.nn.windows import AxialAttention, LocalAttention

WIDTH, HEADS, PATCH, LATENTS, SPAN = 64, 8, 16, 64, 16
LEAST_SECONDS = 0.2  # of a cell: the fastest of as many steps as it takes
REFERENCE = (256, 1)  # pixels and batch by which the seconds of a multiply-add are measured


class Tokens(nn.Module):
    """Attention of tokens to tokens, on a map."""

    def __init__(self, latents: int = 0):
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(1, latents, WIDTH)) if latents else None
        self.inner = CrossBlock(WIDTH, WIDTH, HEADS) if latents else MultiHeadAttention(WIDTH, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return self.inner(tokens) if self.latents is None else self.inner(self.latents.expand(len(x), -1, -1), tokens)


def axial() -> nn.Module:
    return nn.Sequential(AxialAttention(WIDTH, 2, HEADS, SPAN), AxialAttention(WIDTH, 3, HEADS, SPAN))


KINDS: dict[str, Callable[[], nn.Module]] = {
    "global": Tokens,
    "local, 7 x 7": lambda: LocalAttention(WIDTH, WIDTH, 1, HEADS, 7),
    f"axial, span {SPAN}": axial,
    f"Perceiver, {LATENTS} latents": lambda: Tokens(LATENTS),
}


@dataclass(frozen=True)
class Cell:
    """One kind at one size: predicted and measured seconds and bytes; None where it was stopped, with the reason."""

    kind: str
    pixels: int
    batch: int
    predicted_seconds: float
    predicted_bytes: int
    seconds: float | None = None
    bytes: int | None = None
    stopped: str = ""


def counts(kind: str, pixels: int, batch: int) -> tuple[int, int]:
    """Multiply-adds of the forward pass, and bytes that it keeps for the backward pass, weights included."""
    side = pixels // PATCH
    with torch.device("meta"), FlopCounterMode(display=False) as counter:  # no attention is fused there: all is counted
        module = KINDS[kind]()
        x = torch.empty(batch, WIDTH, side, side)
        module(x, True) if isinstance(module, LocalAttention) else module(x)
    saved: dict[int, torch.UntypedStorage] = {}

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    module = KINDS[kind]()
    with FakeTensorMode(allow_non_fake_inputs=True), saved_tensors_hooks(save, lambda tensor: tensor):
        module(torch.empty(batch, WIDTH, side, side, requires_grad=True))
    nbytes = sum(storage.nbytes() for storage in saved.values())
    return counter.get_total_flops() // 2, nbytes


def memory(field: str) -> int:
    """A field of this process's status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    return 0


def run(kind: str, pixels: int, batch: int, limits: tuple[float, int], pipe: Connection) -> None:
    """Train one step in a process of its own; the fastest, and the peak of its memory above the start's."""
    seconds, nbytes = limits
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(2 * seconds), math.ceil(2 * seconds)))
    torch.set_num_threads(1)
    module, side = KINDS[kind](), pixels // PATCH
    x = torch.randn(batch, WIDTH, side, side, requires_grad=True)
    module(torch.randn(1, WIDTH, 4, 4)).sum().backward()  # what autograd sets up once
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before, times = memory("VmRSS"), []
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + nbytes,) * 2)
    try:
        while len(times) < 2 or sum(times) < LEAST_SECONDS:
            start = time.thread_time()  # the clock of the process counts in ticks where its time is limited
            module(x).sum().backward()
            times.append(time.thread_time() - start)
            if sum(times) > seconds:
                break
    except (RuntimeError, MemoryError):
        pipe.send((None, None, f"more than {nbytes / 2**30:g} GiB"))
        return
    pipe.send((min(times), memory("VmHWM") - before, ""))


def measure(kind: str, pixels: int, batch: int, limits: tuple[float, int]) -> tuple[float | None, int | None, str]:
    """Seconds and bytes of a step, or why it was stopped."""
    context = multiprocessing.get_context("forkserver")  # forks of this process may not use autograd once it has
    context.set_forkserver_preload(["benchmarks.growth"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(kind, pixels, batch, limits, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None, None, f"more than {2 * limits[0]:g} s"
    finally:
        process.join()


def sweep(sizes: list[int], batches: list[int], limits: tuple[float, int]) -> list[Cell]:
    """Every kind at every size with one image, and at 256 pixels with every batch."""
    cells: list[Cell] = []
    work = dict.fromkeys([REFERENCE, *((size, 1) for size in sizes), *((REFERENCE[0], batch) for batch in batches)])
    for kind in KINDS:
        rate = 0.0
        for pixels, batch in work:
            macs, nbytes = counts(kind, pixels, batch)
            seconds, peak, stopped = None, None, ""
            if rate * macs > 4 * limits[0]:
                stopped = f"more than {limits[0]:g} s predicted"
            elif nbytes > 4 * limits[1]:
                stopped = f"more than {limits[1] / 2**30:g} GiB predicted"
            else:
                seconds, peak, stopped = measure(kind, pixels, batch, limits)
            if (pixels, batch) == REFERENCE and seconds is not None:
                rate = seconds / macs
            cells.append(Cell(kind, pixels, batch, rate * macs, nbytes, seconds, peak, stopped))
            print(line(cells[-1]), flush=True)
    return cells


def line(cell: Cell) -> str:
    measured = (
        cell.stopped if cell.seconds is None or cell.bytes is None
        else f"{1000 * cell.seconds:.1f} | {cell.bytes / 2**20:.1f}"
    )  # fmt: skip
    predicted = f"{1000 * cell.predicted_seconds:.1f} | {cell.predicted_bytes / 2**20:.1f}"
    return f"| {cell.kind} | {cell.pixels} | {cell.batch} | {predicted} | {measured} |"


def draw(cells: list[Cell], path: Path, note: str) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 7), dpi=130, layout="constrained")
    panels = [("pixels", "batch", 1, "side of the image in pixels, batch 1")]
    panels += [("batch", "pixels", REFERENCE[0], f"batch, {REFERENCE[0]} pixels")]
    for column, (x, fixed, value, label) in enumerate(panels):
        for number, kind in enumerate(KINDS):
            own = sorted(
                (c for c in cells if c.kind == kind and getattr(c, fixed) == value), key=lambda c: getattr(c, x)
            )
            for row, (quantity, unit) in enumerate((("seconds", 1e-3), ("bytes", 2**20))):
                axis, colour = axes[row][column], f"C{number}"
                places = [getattr(c, x) for c in own]
                predicted = [getattr(c, f"predicted_{quantity}") / unit for c in own]
                ran = [(p, getattr(c, quantity) / unit) for p, c in zip(places, own) if getattr(c, quantity)]
                axis.plot(places, predicted, "--", color=colour, linewidth=1)
                axis.plot(*zip(*ran), "o-", color=colour, markersize=4, label=kind)
                axis.set(xscale="log", yscale="log", xlabel=label, ylabel=("ms of a step", "MiB above the start")[row])
                axis.set_xticks(places, [str(p) for p in places], minor=False)
                axis.minorticks_off()
                axis.grid(alpha=0.25)
                axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"measured (points) and predicted (dashed); {note}", fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> list[Cell]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 256, 512, 1024, 2048])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=10.0, help="limit of processor time of a step")
    parser.add_argument("--gib", type=float, default=4.0, help="limit of memory of a step")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    note = describe()
    print(f"{note}\n\n| attention | pixels | batch | ms predicted | MiB predicted | ms | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    cells = sweep(options.sizes, options.batches, (options.seconds, int(options.gib * 2**30)))
    if options.json:
        options.json.write_text(json.dumps({"note": note, "cells": [asdict(c) for c in cells]}, indent=1) + "\n")
    if options.chart:
        draw(cells, options.chart, note)
    return cells


if __name__ == "__main__":
    main()
