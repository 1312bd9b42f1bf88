"""Which tests execute which lines, and how long each takes: recorded once, a process for each test file."""

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from benchmarks.mutation.changes import ROOT

Lines = set[tuple[str, int]]


@dataclass(frozen=True)
class TestRecord:
    """Seconds of a test, those of the fixtures that it shares with others included, and the lines that it executes."""

    seconds: float
    lines: frozenset[tuple[str, int]]
    passed: bool


def cpu_seconds() -> float:
    """Of this process and of those that it has started and waited for."""
    return sum(os.times()[:4])


def too_slow(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("over the limit of CPU time")


class LineRecorder:
    """A plugin of pytest. Lines of a fixture that several tests share count for each of them."""

    def __init__(self, files: list[str], limit: float):
        self.limit = limit
        self.files = {str(ROOT / file): file for file in files}
        self.records: dict[str, TestRecord] = {}
        self.fixtures: dict[tuple[str, str], tuple[float, Lines]] = {}
        self.lines: Lines = set()
        self.failed: set[str] = set()

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in self.files:
            return None
        self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        outer, self.lines, start = self.lines, set(), cpu_seconds()
        try:
            return (yield)
        finally:
            key = (fixturedef.argname, fixturedef.baseid)
            seconds, lines = self.fixtures.get(key, (0.0, set()))
            self.fixtures[key] = (max(seconds, cpu_seconds() - start), lines | self.lines)
            self.lines = outer

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.lines, start = set(), cpu_seconds()
        known = set(self.fixtures)
        signal.signal(signal.SIGVTALRM, too_slow)
        signal.setitimer(signal.ITIMER_VIRTUAL, self.limit)
        sys.settrace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            seconds, lines = cpu_seconds() - start, set(self.lines)
            for key, (cost, executed) in self.fixtures.items():
                if key[0] in getattr(item, "fixturenames", ()) and item.nodeid.startswith(key[1]):
                    lines |= executed
                    seconds += cost if key in known else 0
            named = frozenset((self.files[path], line) for path, line in lines)
            self.records[item.nodeid] = TestRecord(seconds, named, item.nodeid not in self.failed)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)


def run_items(items: list[pytest.Item]) -> Iterator[None]:
    """Run tests in this process, one each time the iterator goes on."""
    for item, following in zip(items, [*items[1:], None]):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        yield


def record(items: list[pytest.Item], files: list[str], folder: Path, limit: float) -> dict[str, TestRecord]:
    """The record of the tests of one file, from the folder if a complete one is there; a test over the limit, in
    seconds of CPU time, fails."""
    path = items[0].path
    name = path.relative_to(ROOT).as_posix().replace("/", "+")
    stored = folder / f"{name}.{path.stat().st_mtime_ns}.pickle"
    if not stored.is_file():
        child = os.fork()
        if child == 0:
            recorder = LineRecorder(files, limit)
            items[0].config.pluginmanager.register(recorder)
            list(run_items(items))
            stored.write_bytes(pickle.dumps(recorder.records))
            os._exit(0)
        os.waitpid(child, 0)
    return pickle.loads(stored.read_bytes()) if stored.is_file() else {}
