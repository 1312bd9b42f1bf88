"""Every way to run a vision model, each in a process of its own, in turn in every round.

    python -m benchmarks.inference --models vit_ti16 vit_s16 vit_b16 --batch 1 8 --threads 1 2
    python -m benchmarks.inference --models vit_b16 --precision f32 int8 bf16
    python -m benchmarks.inference --models detr_r50 dpt_b clip_vit_b32 resnet50 convnext_t

Models are names of `saccade models`; of a CLIP the image encoder runs. A ratio is the median over the rounds of the
best peer's time by a way's in the same round; above 1 is faster. On a machine with other work, `--clock cpu` counts the
processor's time of one thread instead of the time on the clock.
"""

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl

from benchmarks.inference.ways import LIMIT, LIMIT_FLOP, WAYS, own, precision_of, ways_for
from benchmarks.machine import describe
from saccade.models.cost import measure_cost
from saccade.models.cost_table import read_costs

ROOT = Path(__file__).parents[2]
COLUMNS = 3  # of the chart


@dataclass(frozen=True)
class Row:
    """One way in one cell: seconds of a batch (quartiles over the rounds); how much faster than timm in float32 (than
    transformers where timm has no such model), than the best peer in float32, and than the best in the way's own
    precision; the fraction of the limit of float32 products."""

    model: str
    batch: int
    threads: int
    way: str
    median: float
    fast: float
    slow: float
    by_timm: float
    by_best_f32: float
    by_best_peer: float
    fraction: float


def measure(ways: list[str], model: str, batch: int, threads: int, rounds: int, clock: str) -> dict[str, list[float]]:
    """Way -> seconds of a batch in every round. A way that does not start is left out, with its error printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    workers = {}
    for way in (LIMIT, *ways):
        command = [sys.executable, "-m", "benchmarks.inference.worker", way, model, str(batch), str(threads)]
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert worker.stdout is not None
        line = next((line for line in worker.stdout if line.startswith('{"ready"')), "")
        if line:
            workers[way] = worker
        else:
            print(f"{way}: {(worker.communicate()[1].strip().splitlines() or ['nothing'])[-1]}", file=sys.stderr)
    seconds: dict[str, list[float]] = {way: [] for way in workers}
    for _ in range(rounds):
        for way, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
            seconds[way].append(json.loads(worker.stdout.readline())[clock])
    for worker in workers.values():
        worker.communicate()
    return seconds


def rows_of(seconds: dict[str, list[float]], model: str, batch: int, threads: int, gmacs: float) -> list[Row]:
    """What the samples of one cell say."""
    limit = LIMIT_FLOP / statistics.quantiles(seconds[LIMIT], n=4)[0]
    peers = {way: times for way, times in seconds.items() if way != LIMIT and not way.startswith("saccade")}

    def best(*precisions: str) -> list[float] | None:
        times = [peers[way] for way in peers if precision_of(way) in precisions]
        return min(times, key=statistics.median, default=None)

    f32 = best("f32") or best("bf16", "int8")
    base = seconds.get("timm") or seconds.get("transformers") or f32
    rows = []
    for way, times in seconds.items():
        if way == LIMIT:
            continue
        fast, median, slow = statistics.quantiles(times, n=4)
        ratios = (paired(peer, times) if peer else math.nan for peer in (base, f32, best(precision_of(way))))
        fraction = 2e9 * gmacs * batch / median / limit
        rows.append(Row(model, batch, threads, way, median, fast, slow, *ratios, fraction))
    return rows


def paired(base: list[float], times: list[float]) -> float:
    """How much faster than the base, the median over the rounds."""
    return statistics.median(a / b for a, b in zip(base, times))


def table(rows: list[Row]) -> str:
    lines = [
        "| model | batch | threads | implementation | ms a batch (quartiles) | × timm | × best f32 peer | × best peer "
        "| of the limit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        spread = f"{1000 * r.median:.1f} ({1000 * r.fast:.1f}–{1000 * r.slow:.1f})"
        ratios = f"{r.by_timm:.2f} | {r.by_best_f32:.2f} | {r.by_best_peer:.2f} | {r.fraction:.2f}"
        lines.append(f"| {r.model} | {r.batch} | {r.threads} | {r.way} | {spread} | {ratios} |")
    return "\n".join(lines)


def draw(rows: list[Row], path: Path, note: str) -> None:
    """Bars: how much faster than timm, a group for each model, batch and number of threads."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    cells = list(dict.fromkeys((r.model, r.batch, r.threads) for r in rows))
    columns = min(COLUMNS, len(cells))
    lines = -(-len(cells) // columns)
    most = max(sum((r.model, r.batch, r.threads) == cell for r in rows) for cell in cells)
    size = (3 + 3.6 * columns, lines * (0.3 * most + 0.7) + 0.4)
    figure, axes = plt.subplots(figsize=size, nrows=lines, ncols=columns, squeeze=False, layout="constrained")
    for axis in axes.flat[len(cells) :]:
        axis.set_visible(False)
    for axis, cell in zip(axes.flat, cells):
        values = {r.way: r.by_timm for r in rows if (r.model, r.batch, r.threads) == cell}
        colours = ["#0a7d6c" if way.startswith("saccade") else "#9aa3ad" for way in values]
        bars = axis.barh(list(values), list(values.values()), color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
        axis.set_title("{}, batch {}, {} thread{}".format(*cell, "s" if cell[2] != 1 else ""), fontsize=10)
        axis.set_xlim(0, 1.25 * max(values.values()))
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.invert_yaxis()
    figure.supxlabel(f"times timm's speed in float32, higher is faster; {note}", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def cost_of(model: str) -> float:
    """10⁹ multiply-adds of an image."""
    part = own(model)
    return measure_cost(part.model).gmacs if part.method == "embed" else read_costs()[model].gmacs


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["vit_ti16"], help="names of `saccade models`")
    parser.add_argument("--batch", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", nargs="+", default=["f32"], choices=["f32", "bf16", "int8"])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), help="instead of all in these precisions")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args(arguments)
    note = f"{describe()}, {options.clock} time"
    rows: list[Row] = []
    for model in options.models:
        gmacs = cost_of(model)
        ways = options.ways or ways_for([model], options.precision)
        for batch, threads in itertools.product(options.batch, options.threads):
            seconds = measure(ways, model, batch, threads, options.rounds, options.clock)
            rows += rows_of(seconds, model, batch, threads, gmacs)
            print(table(rows[-len(seconds) + 1 :]), flush=True)
    print(f"\n{note}, {options.rounds} rounds\n\n{table(rows)}")
    if options.json:
        options.json.write_text(json.dumps({"note": note, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    if options.chart:
        draw(rows, options.chart, note)
    return rows


if __name__ == "__main__":
    main()
