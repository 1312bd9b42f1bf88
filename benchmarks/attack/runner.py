"""Attempts in child processes: each has a limit of memory, of CPU time and of time, and a crash counts as a failure.

Every attempt has its own random numbers, drawn from the seed, the row and the attempt's number: one that failed is
repeated alone with ``--rows ROW --first NUMBER --count 1``.
"""

import json
import os
import random
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from saccade.cli.terminal import one_line
from saccade.errors import SaccadeError

SHORTEST = 10  # letters of an error

Attempt = Callable[[Any, int, random.Random, Path], str | None]


def nothing(folder: Path) -> None:
    """What most rows prepare."""


@dataclass(frozen=True)
class Row:
    """One kind of attack.

    Attributes:
        name: of the row.
        tries: what is attempted, for the table.
        holds: what must hold.
        count: attempts of a whole run.
        attempt: (what `prepare` returned, number, random numbers, empty folder) -> why it failed, or None.
        prepare: makes in a folder what all attempts share.
        size: attempts that one call makes.
        batch: calls of one child process.
        megabytes: that a child's resident memory may grow by, and half of what it may reserve.
        cpu_seconds: of one call.
        seconds: of one call, on the clock.
        quiet: whether a line on stderr that does not name the file is a failure.
    """

    name: str
    tries: str
    holds: str
    count: int
    attempt: Attempt
    prepare: Callable[[Path], Any] = nothing
    size: int = 1
    batch: int = 200
    megabytes: int = 1500
    cpu_seconds: float = 20
    seconds: int = 120
    quiet: bool = False


@dataclass
class Outcome:
    """What became of a row: attempts, those that failed with their reasons, seconds."""

    tried: int = 0
    failed: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0


def problem_of(run: Callable[[], object]) -> str | None:
    """Why the outcome is neither a result nor one line of a `SaccadeError`; None if it is."""
    try:
        run()
    except SaccadeError as error:
        return problem_of_error(error)
    except Exception as error:
        return described(error)
    return None


def problem_of_error(error: SaccadeError) -> str | None:
    """Why an error of the package, as a command prints it, is not what it should be."""
    if len(one_line(error)) < SHORTEST:
        return f"{type(error).__name__} without a reason: {error}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return f"memory ran out before the refusal: {str(error)[:300]}"
        cause = cause.__cause__ or cause.__context__
    return None


def described(error: BaseException) -> str:
    """An exception in one line, with the place in the package where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = next((f for f in reversed(frames) if "/saccade/" in f.filename), frames[-1] if frames else None)
    place = f" at {own.filename.rpartition('/saccade/')[2]}:{own.lineno}" if own else ""
    return f"{type(error).__name__}: {str(error)[:200]!r}{place}"


def run_row(
    row: Row, seed: int, first: int, calls: int, on_call: Callable[[Outcome, int], None] = lambda outcome, done: None
) -> Outcome:
    """Make the calls of a row from number `first` on, in children one after the other."""
    outcome, start = Outcome(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        folder = Path(name)
        (folder / "shared").mkdir()
        state = row.prepare(folder / "shared")
        number, last = first, first + calls
        while number < last:
            for index, reason in _batch(row, state, seed, range(number, min(number + row.batch, last)), folder):
                outcome.tried += row.size
                if reason is not None:
                    outcome.failed += row.size
                    outcome.reasons.append((index, reason))
                number = index + 1
                outcome.seconds = time.monotonic() - start
                on_call(outcome, number - first)
    return outcome


def _batch(row: Row, state: Any, seed: int, numbers: range, folder: Path) -> Iterator[tuple[int, str | None]]:
    """(number, why it failed) of the calls that one child makes; the last of a child that died names its signal."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            _attempt_all(row, state, seed, numbers, folder, writer)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    next_number = numbers.start
    with open(reader, encoding="utf-8") as lines:
        for line in lines:
            number, reason = json.loads(line)
            next_number = number + 1
            yield number, reason
    _, status = os.waitpid(child, 0)
    if status and next_number < numbers.stop:
        code = os.waitstatus_to_exitcode(status)
        names = {signal.SIGALRM: f"no end within {row.seconds} s", signal.SIGPROF: f"{row.cpu_seconds} s of CPU time"}
        died = f"the process ended: {signal.Signals(-code).name}" if code < 0 else f"the process ended with {code}"
        yield next_number, names.get(-code, died)  # type: ignore[call-overload]


def _attempt_all(row: Row, state: Any, seed: int, numbers: range, folder: Path, writer: int) -> None:
    torch.set_num_threads(1)
    reserved = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = reserved + 2 * row.megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGALRM, signal.SIGPROF):  # also inside C code, where a handler in Python would wait
        signal.signal(number, signal.SIG_DFL)
    lines = folder / f"stderr-{os.getpid()}"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(lines, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    for number in numbers:
        before, peak = (
            len(lines.read_text(errors="replace")) if row.quiet else 0,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        )
        signal.setitimer(signal.ITIMER_REAL, row.seconds)
        signal.setitimer(signal.ITIMER_PROF, row.cpu_seconds)
        with tempfile.TemporaryDirectory(dir=folder) as own:
            try:
                reason = row.attempt(state, number, random.Random(f"{seed}/{row.name}/{number}"), Path(own))
            except Exception as error:
                reason = described(error)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) // 1024
        if reason is None and growth > row.megabytes:
            reason = f"{growth} MB"
        printed = lines.read_text(errors="replace")[before:] if row.quiet else ""
        if reason is None and any(own not in line for line in printed.splitlines()):
            reason = f"on stderr, without the file's name: {printed[:200]!r}"
        os.write(writer, (json.dumps((number, reason)) + "\n").encode())
