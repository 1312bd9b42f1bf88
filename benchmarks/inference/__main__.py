"""Every way to run a ViT, each in a process of its own, in turn in every round.

    python -m benchmarks.inference --models vit_ti16 vit_s16 vit_b16 --batch 1 8 --threads 1
    python -m benchmarks.inference --ways "timm in OpenVINO, bf16" "saccade in OpenVINO, bf16"

A ratio is the median over the rounds of the best peer's time by a way's in the same round; above 1 is faster. On a
machine with other work, `--clock cpu` counts the processor's time of one thread instead of the time on the clock.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl

from benchmarks.inference.ways import FLOAT32, LIMIT, LIMIT_FLOP, WAYS
from benchmarks.machine import describe
from saccade.models.cost_table import read_costs

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Row:
    """One way in one cell: seconds of a batch (quartiles over the rounds), ratios, fraction of the matmul limit."""

    model: str
    batch: int
    way: str
    median: float
    fast: float
    slow: float
    by_timm: float
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


def rows_of(seconds: dict[str, list[float]], model: str, batch: int, gmacs: float) -> list[Row]:
    """What the samples of one cell say."""
    limit = LIMIT_FLOP / statistics.quantiles(seconds[LIMIT], n=4)[0]
    peers = {way: times for way, times in seconds.items() if way != LIMIT and not way.startswith("saccade")}
    best = min(peers.values(), key=statistics.median)
    base = seconds.get("timm", best)
    rows = []
    for way, times in seconds.items():
        if way == LIMIT:
            continue
        fast, median, slow = statistics.quantiles(times, n=4)
        rows.append(
            Row(
                model, batch, way, median, fast, slow, paired(base, times), paired(best, times),
                2e9 * gmacs * batch / median / limit,
            )
        )  # fmt: skip
    return rows


def paired(base: list[float], times: list[float]) -> float:
    """How much faster than the base, the median over the rounds."""
    return statistics.median(a / b for a, b in zip(base, times))


def table(rows: list[Row]) -> str:
    lines = [
        "| model | batch | way | ms a batch (quartiles) | × timm | × best peer | of the matmul limit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        spread = f"{1000 * r.median:.1f} ({1000 * r.fast:.1f}–{1000 * r.slow:.1f})"
        ratios = f"{r.by_timm:.2f} | {r.by_best_peer:.2f} | {r.fraction:.2f}"
        lines.append(f"| {r.model} | {r.batch} | {r.way} | {spread} | {ratios} |")
    return "\n".join(lines)


def draw(rows: list[Row], path: Path, note: str) -> None:
    """Bars: how much faster than timm, a group for each model and batch."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    cells = list(dict.fromkeys((r.model, r.batch) for r in rows))
    ways = list(dict.fromkeys(r.way for r in rows))
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(ways) + 1.2), sharey=True, ncols=len(cells), squeeze=False)
    for axis, (model, batch) in zip(axes[0], cells):
        values = {r.way: r.by_timm for r in rows if (r.model, r.batch) == (model, batch)}
        colours = ["#0a7d6c" if way.startswith("saccade") else "#9aa3ad" for way in ways]
        bars = axis.barh(ways, [values.get(way, 0.0) for way in ways], color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
        axis.set_title(f"{model}, batch {batch}", fontsize=10)
        axis.set_xlim(0, 1.25 * max(values.values()))
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axes[0][0].invert_yaxis()
    figure.supxlabel(f"times timm's speed, higher is faster; {note}", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["vit_ti16"], help="plain ViTs of `saccade models`")
    parser.add_argument("--batch", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ways", nargs="+", default=list(FLOAT32), choices=list(WAYS))
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args(arguments)
    gmacs = {name: cost.gmacs for name, cost in read_costs().items()}
    note = f"{describe()}, {options.threads} thread{'s' if options.threads != 1 else ''}, {options.clock} time"
    rows: list[Row] = []
    for model in options.models:
        for batch in options.batch:
            seconds = measure(options.ways, model, batch, options.threads, options.rounds, options.clock)
            rows += rows_of(seconds, model, batch, gmacs[model])
            print(table(rows[-len(seconds) + 1 :]), flush=True)
    print(f"\n{note}, {options.rounds} rounds\n\n{table(rows)}")
    if options.json:
        options.json.write_text(json.dumps({"note": note, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    if options.chart:
        draw(rows, options.chart, note)
    return rows


if __name__ == "__main__":
    main()
