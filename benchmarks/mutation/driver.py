"""Makes one change after the other, each in a fork of a process that has collected the tests, and runs the tests that
execute the changed line until one fails."""

import contextlib
import json
import math
import os
import resource
import select
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.mutation.apply import Functions, apply, functions_of, module_name
from benchmarks.mutation.changes import ROOT, Change
from benchmarks.mutation.lines import TestRecord, cpu_seconds, record, run_items

# Folders of whole runs, pages, models and exports take too long for a change each.
TESTS = (
    "tests/tasks", "tests/data", "tests/training", "tests/hostile", "tests/opens", "tests/engine", "tests/conformance",
    "tests/parity/metrics", "tests/parity/training", "tests/reporting", "tests/test_config_io.py",
)  # fmt: skip
LIBRARIES = (  # that tests or the package import when first used: loaded once, for all changes
    "torch._dynamo", "torchvision.transforms.v2", "sklearn.metrics", "scipy.optimize", "pyarrow.parquet",
)  # fmt: skip
EXTRA_MEMORY = 6 << 30
TRACING = 2  # how much longer a test takes while its lines are recorded


@dataclass
class Driver:
    """A plugin of pytest that runs changes instead of tests."""

    changes: list[Change]
    files: list[str]
    folder: Path
    results: Path
    budget: float
    uses_all: bool  # every test file, not those of the module alone
    items: dict[str, pytest.Item] = field(default_factory=dict)
    by_path: dict[Path, list[pytest.Item]] = field(default_factory=lambda: defaultdict(list))
    own: dict[str, set[Path]] = field(default_factory=dict)
    recorded: set[Path] = field(default_factory=set)
    records: dict[str, TestRecord] = field(default_factory=dict)
    killers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for name in LIBRARIES:
            with contextlib.suppress(ImportError):
                import_module(name)
        functions = functions_of(self.files)
        self.items = {item.nodeid: item for item in session.items}
        for item in session.items:
            self.by_path[item.path].append(item)
        for change in self.changes:
            tests = self.tests_of(change)
            start = time.monotonic()
            outcome = self.outcome(change, tests, functions) if tests else "survived: no test executes it"
            row = {"file": change.file, "number": change.number, "line": change.place.first, "change": change.text,
                   "outcome": outcome, "tests": len(tests), "seconds": round(time.monotonic() - start, 2)}  # fmt: skip
            with self.results.open("a", encoding="utf-8") as rows:
                rows.write(json.dumps(row) + "\n")
        return True

    def own_tests(self, file: str) -> set[Path]:
        """The test files of a module's folder and those that import the module; they are recorded when first used."""
        if file not in self.own:
            folder, module = ROOT / "tests" / Path(*Path(file).parts[1:-1]), f"from {module_name(file)} import"
            self.own[file] = {
                path
                for path in self.by_path
                if self.uses_all or path.parent == folder or module in path.read_text(encoding="utf-8")
                if not path.stem.endswith(("runs", "cuts"))  # whole trainings, other processes: over the budget
            }
            for path in sorted(self.own[file] - self.recorded):
                print(f"recording {path.name} for {file}", file=sys.stderr, flush=True)
                records = record(self.by_path[path], self.files, self.folder, TRACING * self.budget)
                for name in (name for name, test in records.items() if not test.passed):
                    print(f"not used, as it is skipped, slow or fails without a change: {name}", file=sys.stderr)
                self.records |= records
            self.recorded |= self.own[file]
        return self.own[file]

    def tests_of(self, change: Change) -> list[str]:
        """Tests that execute the line, those of its module first, fast before slow; before these, what has found other
        changes of the function."""
        place, own = change.place, self.own_tests(change.file)
        # An import runs the other lines of a module: whoever executes any of its functions may see them.
        whole = not place.function and not place.is_signature
        lines = {(change.file, line) for line in range(place.first + place.is_signature, place.last + 1)}
        executing = [
            (name, test)
            for name, test in self.records.items()
            if test.passed and test.seconds <= TRACING * self.budget
            if (any(file == change.file for file, _ in test.lines) if whole else not lines.isdisjoint(test.lines))
        ]

        def order(entry: tuple[str, TestRecord]) -> tuple[bool, int, str, float]:
            path = self.items[entry[0]].path
            return path not in own, round(math.log2(max(entry[1].seconds, 0.01))), str(path), entry[1].seconds

        names = [name for name, _ in sorted(executing, key=order)]
        first = [name for name in reversed(self.killers[f"{change.file}:{place.function}"]) if name in names]
        return list(dict.fromkeys([*first[:3], *names]))

    def outcome(self, change: Change, tests: list[str], functions: Functions) -> str:
        is_import = not change.place.function

        def run(report: Callable[[str], None]) -> None:
            try:
                apply(change.file, change.tree(), is_import, functions)
            except Exception as error:
                return report(f"killed: the import fails with {type(error).__name__}")
            self.items[tests[0]].config.pluginmanager.register(FirstFailure(report))
            start = cpu_seconds()
            for count, _ in enumerate(run_items([self.items[name] for name in tests]), 1):
                if cpu_seconds() - start > self.budget and count < len(tests):
                    return report(f"survived: {count} tests within the budget")
            report("survived")

        outcome = in_fork(run, self.budget)
        if outcome.startswith("killed by "):
            self.killers[f"{change.file}:{change.place.function}"].append(outcome.removeprefix("killed by "))
        return outcome


class FirstFailure:
    """A plugin of pytest: ends the process with the first failure."""

    def __init__(self, report: Callable[[str], None]):
        self.report = report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.report(f"killed by {report.nodeid}")
            os._exit(0)


def in_fork(run: Callable[[Callable[[str], None]], None], budget: float) -> str:
    """What ``run`` reports in a process of its own, or how the process ended: with a signal, or over its time."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.close(reader)
        seconds = int(2 * budget + 10)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + EXTRA_MEMORY, size + EXTRA_MEMORY))

        def report(text: str) -> None:
            os.write(writer, text.encode()[:4000])

        try:
            run(report)
        except BaseException as error:
            report(f"killed: {type(error).__name__}")
        os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], 4 * budget + 30)
    text = os.read(reader, 4000).decode() if ready else ""
    os.close(reader)
    with contextlib.suppress(ProcessLookupError):  # ends the processes that the tests have started, too
        if text or not ready:
            os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if text:
        return text
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    slow = not ready or number == signal.SIGXCPU
    return "killed: endless" if slow else f"killed: {signal.Signals(number).name if number else 'exit'}"


def run_changes(
    changes: list[Change],
    files: list[str],
    tests: list[str],
    folder: Path,
    results: Path,
    budget: float,
    uses_all: bool,
) -> None:
    """Append the outcome of each change to a file of JSON lines."""
    base = folder / "tmp"
    shutil.rmtree(base, ignore_errors=True)
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-o", "timeout=0", "--basetemp", str(base)]
    sys.stdout.flush()
    pytest.main([*options, *tests], plugins=[Driver(changes, files, folder, results, budget, uses_all)])
