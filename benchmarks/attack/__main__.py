"""The long attack on the package: files that others wrote, kills, threads, requests.

    python -m benchmarks.attack                        everything, some 40 minutes on one core
    python -m benchmarks.attack --rows images names    these rows
    python -m benchmarks.attack --scale 0.01           one attempt in a hundred
    python -m benchmarks.attack --rows images --first 123 --count 1    one attempt again
    python -m benchmarks.attack --results benchmarks/results/attack-pass.json    all rows on one commit

Writes benchmarks/results/attack.json after a run at full scale, or the other file, and the table of
docs/reliability.md.
"""

import argparse
import json
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.attack import data, pictures, runs, serving, weights
from benchmarks.attack.runner import Outcome, Row, run_row
from benchmarks.machine import describe

ROOT = Path(__file__).parents[2]
ONE_PASS = ROOT / "benchmarks" / "results" / "attack-pass.json"  # of --results attack-pass.json
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "attack.json", ROOT / "docs" / "reliability.md"
MARKED = re.compile(r"(<!-- attack -->\n).*?(<!-- end of attack -->)", re.DOTALL)
ROWS: dict[str, Row] = {row.name: row for module in (runs, weights, pictures, data, serving) for row in module.ROWS}
SEED = 0


def progress(row: Row, calls: int, start: float) -> Any:
    """Prints the attempts, the rate and the time left: twice a second on a terminal, else every half minute."""
    is_terminal = sys.stderr.isatty()
    last = [start]

    def show(outcome: Outcome, done: int) -> None:
        now = time.monotonic()
        if now - last[0] < (0.5 if is_terminal else 30) and done < calls:
            return
        last[0] = now
        seconds = now - start
        text = f"{row.name}: {outcome.tried:,} of {calls * row.size:,}, {outcome.failed} failed, "
        text += f"{outcome.tried / seconds:.0f} a second, {seconds / done * (calls - done):.0f} s left"
        print(f"{text:<79}", end="\r" if is_terminal and done < calls else "\n", file=sys.stderr, flush=True)

    return show


def table(results: dict[str, dict[str, Any]], one_pass: dict[str, dict[str, Any]]) -> str:
    """The table of docs/reliability.md, from the last run of each row, and from one of all rows in one process."""
    lines = [
        "| row | what is tried | what must hold | tried | held | failed | in one pass | failed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]

    def cells(name: str) -> str:
        if name not in one_pass:
            return "| | |"
        return f"| {one_pass[name]['tried']:,} | {one_pass[name]['failed']:,} |"

    for name, row in ROWS.items():
        if name in results:
            tried, failed = results[name]["tried"], results[name]["failed"]
            last = f"{tried:,} | {tried - failed:,} | {failed:,}"
            lines.append(f"| {name} | {row.tries} | {row.holds} | {last} {cells(name)}")
    tried, failed = (sum(result[key] for result in results.values()) for key in ("tried", "failed"))
    passed = "|".join(f" {sum(result[key] for result in one_pass.values()):,} " for key in ("tried", "failed"))
    lines.append(f"| all | | | {tried:,} | {tried - failed:,} | {failed:,} |{passed}|")
    machines = sorted({result["machine"] for result in results.values()})
    return f"`python -m benchmarks.attack`, seed {SEED}, {'; '.join(machines)}:\n\n" + "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument("--scale", type=float, default=1.0, help="part of the attempts")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0, help="number of the first attempt of each row")
    parser.add_argument("--count", type=int, help="calls of each row, instead of --scale")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file, to which the rows are added")
    options = parser.parse_args(arguments)
    options.results = options.results.resolve()
    stored = json.loads(options.results.read_text()) if options.results.is_file() else {}
    failed = 0
    for name in options.rows:
        row = ROWS[name]
        whole = -(-row.count // row.size)
        calls = options.count or max(1, round(whole * options.scale))
        outcome = run_row(row, options.seed, options.first, calls, progress(row, calls, time.monotonic()))
        failed += outcome.failed
        for number, reason in outcome.reasons[:50]:
            print(f"{name} {number}: {reason}")
        is_whole = calls == whole and options.first == 0 and options.seed == SEED
        if is_whole or options.results != RESULTS:
            stored[name] = {**asdict(outcome), "machine": describe()}
            options.results.parent.mkdir(parents=True, exist_ok=True)
            options.results.write_text(json.dumps(stored, indent=1) + "\n")
    if options.results in (RESULTS, ONE_PASS) and stored:
        stored, one_pass = (json.loads(path.read_text()) if path.is_file() else {} for path in (RESULTS, ONE_PASS))
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(MARKED.sub(lambda match: match[1] + table(stored, one_pass) + match[2], page), encoding="utf-8")
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
