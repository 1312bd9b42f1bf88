"""Mutation testing: one small change of the code at a time, and whether a related test fails.

    python -m benchmarks.mutation --planted            mistakes that once passed unnoticed
    python -m benchmarks.mutation --sample 60          a seeded sample of changes in the files below

Each change is made in memory, in a fork of a process that has PyTorch loaded, and tested with the tests of its file: a
survivor is a change with which all of them pass. Tests that are marked slow do not run.
"""

import argparse
import ast
import importlib.abc
import importlib.util
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILES = ("saccade/tasks/*/**/*.py", "saccade/data/*.py", "saccade/training/step.py", "saccade/training/resume.py")
NO_TESTS = ("golden", "ecosystem", "explorer", "lab", "cli")  # of whole runs and pages: too slow for a change each
NOT_TESTED = ("report.py", "config.py", "drawing.py")  # of looks, and of defaults that a comparison would repeat


@dataclass(frozen=True)
class Mutant:
    """A changed file: its new source, what was changed, and the tests to run."""

    file: str
    change: str
    source: str
    tests: str


PLANTED = (  # file, text, its replacement, tests
    ("saccade/analysis/calibration.py", "count * abs(c - a) for c, a, count in bins) / sum(count for *_,",
     "abs(c - a) for c, a, count in bins) / sum(1 for *_,", "tests/analysis/test_reliability.py"),
    ("saccade/tasks/detection/records.py", "clip(0, height)", "clip(0, width)",
     "tests/tasks/detection/test_sources.py"),
    ("saccade/tasks/detection/batches.py", "(width, height)[k % 2]", "width", "tests/tasks/detection/test_sources.py"),
    ("saccade/data/pictures.py", "values.astype(np.float64) / 257", "values.astype(np.float64) / 256",
     "tests/data/test_images.py"),
    ("saccade/data/images.py", "to(torch.float64) / 257", "to(torch.float64) / 256", "tests/engine/test_predictor.py"),
    ("saccade/training/step.py", "mix_seed(config.seed, step,", "mix_seed(config.seed, 0,",
     "tests/training/test_dropout.py"),
    ("saccade/tasks/classification/metrics.py", "nll=F.nll_loss(log_probabilities, targets).item()",
     "nll=F.cross_entropy(logits.double(), targets, label_smoothing=0.1).item()",
     "tests/tasks/classification/test_classification.py"),
    ("saccade/training/loop.py", "is_best = selection > (", "is_best = selection >= (", "tests/training/test_loop.py"),
)  # fmt: skip

SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.And: ast.Or,
    ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "all": "any", "any": "all", "floor": "ceil", "sum": "mean", "argmax": "argmin"}


def changes(tree: ast.AST) -> Iterator[tuple[str, Callable[[], None]]]:
    """(where and what, a function that makes the change in the tree) for every change of a file."""
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            yield f"{where}: {ast.unparse(node)}", lambda n=node: n.ops.__setitem__(0, SWAPS[type(n.ops[0])]())
        elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
            yield f"{where}: {ast.unparse(node)}", lambda n=node: setattr(n, "op", SWAPS[type(n.op)]())
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield (
                f"{where}: {ast.unparse(node)}",
                lambda n=node: setattr(n, "operand", ast.UnaryOp(ast.Not(), n.operand)),
            )
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            new = not node.value if isinstance(node.value, bool) else node.value + 1
            yield f"{where}: {node.value} -> {new}", lambda n=node, v=new: setattr(n, "value", v)
        elif isinstance(node, ast.Name | ast.Attribute):
            key = "id" if isinstance(node, ast.Name) else "attr"
            if (name := getattr(node, key)) in NAMES:
                yield f"{where}: {name} -> {NAMES[name]}", lambda n=node, k=key, v=name: setattr(n, k, NAMES[v])


def tests_of(file: str) -> str:
    """The test files that import a module, and those of its task or folder where none of these is among them."""
    module = file.removesuffix(".py").replace("/", ".")
    paths = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if path.parts[-2] not in NO_TESTS]
    importing = [path for path in paths if f"from {module} import" in path.read_text(encoding="utf-8")]
    folder = ROOT / "tests" / Path(*Path(file).parts[1:3] if "tasks" in file else Path(file).parts[1:2])
    own = [] if any(path.parent == folder for path in importing) else sorted(folder.glob("test_*.py"))
    return " ".join(map(str, [*importing, *own]))


def mutants(seed: int, count: int) -> list[Mutant]:
    """A sample of all changes, each with the same chance."""
    places: list[tuple[str, int]] = []
    for path in sorted({path for pattern in FILES for path in ROOT.glob(pattern)}):
        if path.name not in NOT_TESTED:
            number = sum(1 for _ in changes(ast.parse(path.read_text(encoding="utf-8"))))
            places += [(path.relative_to(ROOT).as_posix(), index) for index in range(number)]
    sample = []
    for file, index in random.Random(seed).sample(places, count):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        text, change = list(changes(tree))[index]
        change()
        sample.append(Mutant(file, text, ast.unparse(ast.fix_missing_locations(tree)), tests_of(file)))
    print(f"{len(sample)} of {len(places)} changes")
    return sample


def planted() -> list[Mutant]:
    sample = []
    for file, old, new, tests in PLANTED:
        source = (ROOT / file).read_text(encoding="utf-8")
        if source.count(old) != 1:
            raise SystemExit(f"{file} has {old!r} {source.count(old)} times")
        sample.append(Mutant(file, f"{old} -> {new}", source.replace(old, new), tests))
    return sample


class MutantLoader(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Loads one module from a changed source."""

    def __init__(self, mutant: Mutant):
        self.name = mutant.file.removesuffix(".py").replace("/", ".")
        self.source = mutant.source

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def get_source(self, fullname: str) -> str:
        return self.source


def test(mutant: Mutant, cpu_seconds: int) -> str:
    """Run the tests of a mutant: "killed by TEST", "survived", or "undecided" where they take too long."""
    import pytest

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
        sys.meta_path.insert(0, MutantLoader(mutant))
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)

        class Watcher:
            def pytest_runtest_logreport(self, report: Any) -> None:
                if report.failed:
                    os.write(writer, report.nodeid.encode()[:500])

            def pytest_collectreport(self, report: Any) -> None:
                self.pytest_runtest_logreport(report)

        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
        os._exit(int(pytest.main([*options, *mutant.tests.split()], plugins=[Watcher()])))
    os.close(writer)
    with open(reader, encoding="utf-8") as lines:
        name = lines.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        over = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        return "undecided: too slow" if over else f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"killed by {name.removeprefix('tests/')}" if status else "survived"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="continue a sample at this change, counted from 0")
    parser.add_argument("--cpu-seconds", type=int, default=240, help="of the tests of one change")
    options = parser.parse_args()
    import torch
    import torchvision.transforms.v2  # noqa: F401 (loaded once, for all children)

    torch.set_num_threads(1)
    survivors, start = 0, time.monotonic()
    sample = planted() if options.planted else mutants(options.seed, options.sample)
    for mutant in sample[options.first :]:
        outcome = test(mutant, options.cpu_seconds)
        survivors += outcome == "survived"
        print(f"{outcome}: {mutant.file}, {mutant.change}", flush=True)
    print(f"{survivors} survived, {time.monotonic() - start:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
