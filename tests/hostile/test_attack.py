"""The long attack of ``python -m benchmarks.attack``: its rows run, and count what fails."""

import json
import mmap
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.attack.__main__ import main, table
from benchmarks.attack.runner import Row, problem_of, run_row
from saccade.errors import DataError

QUICK = ("containers", "pickles", "texts", "archives", "outputs")


def test_quick_rows_hold_in_one_attempt_of_three_hundred(tmp_path: Path) -> None:
    results = tmp_path / "attack.json"
    assert main(["--rows", *QUICK, "--scale", "0.003", "--seed", "5", "--results", str(results)]) == 0
    stored = json.loads(results.read_text())
    assert set(stored) == set(QUICK)
    assert stored["containers"]["tried"] == 10
    assert "| containers |" in table(stored, {})


def attempt(state: None, number: int, rng: random.Random, folder: Path) -> str | None:
    """Six ways to fail, and two to hold."""
    if number == 0:
        signal.raise_signal(signal.SIGKILL)
    if number == 1:
        time.sleep(3)
    if number == 2:
        return problem_of(lambda: np.ones(2**32))
    if number == 3:
        return problem_of(lambda: {}["key"])
    if number == 4:
        while True:
            pass
    if number == 5:
        with mmap.mmap(-1, 350 * 2**20) as fresh:  # the allocator may hold freed memory, which would be no growth
            for place in range(0, len(fresh), mmap.PAGESIZE):
                fresh[place] = 1

    def refused() -> None:
        raise DataError("line 3 of the file: no number")

    return problem_of(refused if number == 6 else lambda: 1)


def test_crashes_hangs_memory_and_other_exceptions_are_failures() -> None:
    row = Row("row", "", "", 8, attempt, megabytes=200, seconds=1, cpu_seconds=60)
    waiting = run_row(row, 0, 1, 1)
    assert waiting.reasons == [(1, "no end within 1 s")]
    outcome = run_row(replace(row, seconds=100, cpu_seconds=1), 0, 0, 8)
    assert (outcome.tried, outcome.failed) == (8, 5)
    reasons = dict(outcome.reasons)
    assert reasons[0] == "the process ended: SIGKILL"
    assert "MemoryError" in reasons[2]
    assert reasons[3].startswith("KeyError: ")
    assert reasons[4] == "1 s of CPU time"
    assert reasons[5].endswith(" MB")


def test_attempts_are_repeated_by_their_numbers() -> None:
    draws = Row("row", "", "", 4, lambda state, number, rng, folder: f"{rng.random()}")
    assert run_row(draws, 1, 0, 4).reasons[2:3] == run_row(draws, 1, 2, 1).reasons
    assert run_row(draws, 2, 2, 1).reasons != run_row(draws, 1, 2, 1).reasons
