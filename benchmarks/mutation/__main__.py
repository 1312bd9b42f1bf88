"""Mutation testing: one small change of the code at a time, and whether a test fails.

    python -m benchmarks.mutation                                         every change
    python -m benchmarks.mutation --files saccade/data/splits.py --tests tests/data --results splits.jsonl
    python -m benchmarks.mutation --again                                 the survivors, after tests were written
    python -m benchmarks.mutation --planted                               mistakes that once passed unnoticed
    python -m benchmarks.mutation --table                                 write the results and docs/reliability.md

A run appends each outcome to build/mutation/results.jsonl and goes on where the last one ended.
"""

import argparse
import sys
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.mutation.changes import ROOT, changes_of, files
from benchmarks.mutation.driver import TESTS, run_changes
from benchmarks.mutation.planted import PLANTED, planted
from benchmarks.mutation.table import read_rows, write_table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="+", default=["*"], metavar="PATTERN", help="files whose changes are tested")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="tests to choose from")
    parser.add_argument("--budget", type=float, default=1.5, help="seconds of CPU time of the tests of one change")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutation", help="folder of records and results")
    parser.add_argument("--results", default="results.jsonl", help="name of the file of results in this folder")
    parser.add_argument("--again", action="store_true", help="the survivors again, after tests were written")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    results = options.work / options.results
    if options.table:
        return write_table(results)
    measured, tests, budget = files(), options.tests, options.budget
    if options.planted:
        results = options.work / "planted.jsonl"
        results.unlink(missing_ok=True)
        changes, measured = planted(), [*measured, *(row[0] for row in PLANTED)]
        tests, budget = sorted({row[3] for row in PLANTED}), 60
    else:
        rows = {(row["file"], row["number"]): row for row in read_rows(results)}
        survivors = {key for key, row in rows.items() if row["outcome"].startswith("survived")}
        chosen = [file for file in measured if any(fnmatch(file, pattern) for pattern in options.files)]
        changes = [change for file in chosen for change in changes_of(file)]
        if options.again:
            changes = [change for change in changes if (change.file, change.number) in survivors]
        else:
            changes = [change for change in changes if (change.file, change.number) not in rows]
    print(f"{len(changes)} changes", file=sys.stderr)
    run_changes(changes, sorted(set(measured)), tests, options.work, results, budget, options.planted)
    survivors = [row for row in read_rows(results) if row["outcome"].startswith("survived")]
    for row in survivors:
        print(f"{row['file']}:{row['line']}: {row['change']}: {row['outcome']}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
