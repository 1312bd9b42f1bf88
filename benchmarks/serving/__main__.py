"""The server under load and with faults: throughput, latency, overload, signals, killed workers, memory, slow clients.

    python -m benchmarks.serving                                  # all rows, about 10 minutes on a quiet machine
    python -m benchmarks.serving --rows load queue --seconds 5
    python -m benchmarks.serving --peers litserve=/venv/bin/python bentoml=/venv/bin/python ray=/venv/bin/python
    python -m benchmarks.serving --smoke                          # every row for a moment; its figures mean nothing

Starts `saccade serve` with a fresh ViT-Ti/16 and sends it JPEGs of 500 x 375 pixels from this process. Rows of load use
an open loop, whose requests leave at random times whatever the answers do. Peers serve the same model with the same
decoding, in interpreters in which they are installed. A machine with other work is refused, unless --busy: its figures
are then marked. --write puts the table into docs/operations.md.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

import saccade
from benchmarks.machine import describe
from benchmarks.serving.client import closed_loop, open_loop, photograph
from benchmarks.serving.rows import BATCH, GROUPS, Row, Setting, seeded
from benchmarks.serving.servers import peer_server, saccade_server
from saccade.data.preprocessing import Preprocessing

PAGE = Path(__file__).parents[2] / "docs/operations.md"
RESULTS = Path(__file__).parents[1] / "results/serving.json"
MAX_LOAD = 0.4  # of the cores, before the first row


def peer_row(name: str, python: str, setting: Setting) -> dict[str, float | str]:
    """Throughput, and latencies at 70 % and twice of its own throughput."""
    opened = (
        saccade_server(setting.model, threads=setting.threads)
        if name == "saccade"
        else peer_server(name, python, setting.model, threads=setting.threads)
    )
    with opened as server:
        asyncio.run(closed_loop(server.target, setting.images, 3, 8))
        top = len(asyncio.run(closed_loop(server.target, setting.images, setting.seconds, 2 * BATCH)).milliseconds())
        rate = top / setting.seconds
        busy = asyncio.run(open_loop(server.target, setting.images, setting.seconds, 0.7 * rate))
        over = asyncio.run(open_loop(server.target, setting.images, setting.seconds, 2 * rate))
    return {
        "server": name, "images_per_second": round(rate, 1), "p50_ms": round(busy.quantile(50), 1),
        "p99_ms": round(busy.quantile(99), 1), "goodput": round(len(over.milliseconds()) / setting.seconds / rate, 2),
        "p99_over_ms": round(over.quantile(99), 1),
    }  # fmt: skip


def peer_table(rows: list[dict[str, float | str]]) -> str:
    lines = [
        "| server | images/s | p50 at 70 % | p99 at 70 % | goodput at 200 % | p99 of answers at 200 % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row['server']} | {row['images_per_second']} | {row['p50_ms']} ms | {row['p99_ms']} ms "
            f"| {row['goodput']} | {row['p99_over_ms']} ms |"
        )
    return "\n".join(lines)


def row_table(rows: list[Row]) -> str:
    lines = ["| row | measured | mark | |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {r.name} | {r.value} | {r.mark} | {'' if r.holds else 'missed'} |" for r in rows)])


def write(text: str) -> None:
    """Put the table between the marks of the page."""
    start, end = "<!-- serving -->\n", "<!-- end of serving -->"
    page = PAGE.read_text()
    head, tail = page.partition(start)[0], page.partition(end)[2]
    PAGE.write_text(f"{head}{start}{text}\n{end}{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase of load")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, in the server and in the predictor")
    parser.add_argument("--requests", type=int, default=5000, help="of the row about memory")
    parser.add_argument("--peers", nargs="*", default=[], metavar="NAME=PYTHON", help="litserve, bentoml, ray")
    parser.add_argument("--busy", action="store_true", help="measure although the machine has other work")
    parser.add_argument("--smoke", action="store_true", help="every row for a moment")
    parser.add_argument("--write", action="store_true", help="write the table into docs/operations.md")
    arguments = parser.parse_args()
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    busy = load > MAX_LOAD * cores
    if busy and not (arguments.busy or arguments.smoke):
        sys.exit(f"the load average is {load:.1f} on {cores} cores: measure on a quiet machine, or with --busy")
    seconds, requests = (2.0, 300) if arguments.smoke else (arguments.seconds, arguments.requests)
    torch.set_num_threads(arguments.threads)
    head = f"`python -m benchmarks.serving`, ViT-Ti/16, JPEGs of 500 × 375, {arguments.threads} thread; {describe()}"
    head += f", load average {load:.2f} before"
    if busy or arguments.smoke:
        head += ", **a busy machine or a smoke run: the figures mean nothing**"
    print(head, flush=True)
    rows: list[Row] = []
    peers: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        net = saccade.create("vit_ti16", num_classes=10)
        saccade.save(net, model, labels=list("abcdefghij"), preprocessing=Preprocessing((224, 224)))
        setting = Setting(model, [photograph(seed) for seed in range(16)], seconds, arguments.threads, requests)
        for group in arguments.rows:
            seeded(group)
            start = time.perf_counter()
            for row in GROUPS[group](setting):
                rows.append(row)
                print(f"{'ok  ' if row.holds else 'MISS'} {row.name}: {row.value} ({row.mark})", flush=True)
            print(f"     {group}: {time.perf_counter() - start:.0f} s", flush=True)
        if arguments.peers:
            for text in ["saccade=", *arguments.peers]:
                name, _, python = text.partition("=")
                seeded(name)
                peers.append(peer_row(name, python, setting))
                print(f"     {peers[-1]}", flush=True)
    tables = [head + ":", *([row_table(rows)] if rows else []), *([peer_table(peers)] if peers else [])]
    print("\n\n".join(tables))
    if arguments.write:
        write("\n\n".join(tables))
        content = {"machine": describe(), "load": load, "rows": [row.to_dict() for row in rows], "peers": peers}
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(0 if all(row.holds for row in rows) or arguments.smoke else 1)


if __name__ == "__main__":
    main()
