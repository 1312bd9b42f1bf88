"""The house rules that a machine can check: which way imports run, how long files and signatures grow."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "saccade"
FILES = sorted(PACKAGE.rglob("*.py"))

# room -> rooms of this package that it may import ("room.file": that file only)
MAY_IMPORT = {
    "errors": set(),
    "config_io": {"errors"},
    "nn": {"errors"},
    "models": {"errors", "config_io", "nn"},
    "data": {"errors", "config_io"},
    "checkpoints": {"errors", "nn", "models", "data.preprocessing"},
    "tasks": {"errors", "nn", "data"},
    "training": {"errors", "nn", "models", "data", "checkpoints", "tasks"},
    "inference": {"errors", "nn", "models", "data", "checkpoints", "tasks"},
    "analysis": {"errors", "nn", "models", "data", "checkpoints", "tasks", "inference"},
    "reporting": {"errors", "data.rle", "tasks.predictions", "tasks.text_predictions", "analysis"},
}
THIRD_PARTY = {
    "nn": {"torch"},
    "models": {"torch"},
    "reporting": {"numpy", "PIL", "matplotlib", "jinja2", "markupsafe", "yaml"},
}
NO_TORCH = ["saccade", "saccade.errors", "saccade.models.zoo", "saccade.data.config", "saccade.training.config",
            "saccade.cli.main", "saccade.cli.train", "saccade.tasks.predictions", "saccade.tasks.text_predictions",
            "saccade.tasks.weights"]  # fmt: skip


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "saccade" else {node.module}
            )
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_downward(path: Path) -> None:
    room = ([*module_name(path).split("."), ""])[1]
    if room not in MAY_IMPORT:  # the public face and the command line see everything
        return
    for module in imported_modules(path):
        if not module.startswith("saccade."):
            allowed = THIRD_PARTY.get(room)
            top = module.split(".")[0]
            assert allowed is None or top in allowed | sys.stdlib_module_names, f"{path} imports {module}"
            continue
        other = module.removeprefix("saccade.")
        if other == "__version__":
            continue
        ok = other.split(".")[0] in MAY_IMPORT[room] | {room} or other in MAY_IMPORT[room]
        assert ok, f"{path} imports {module}, which is above it or out of its reach"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_signatures_stay_small(path: Path) -> None:
    text = path.read_text()
    limit = 250 if path.parent.name == "models" else 400
    assert len(text.splitlines()) <= limit, f"{path} is longer than {limit} lines"
    if path.name == "__init__.py" and path.parent not in (PACKAGE, PACKAGE / "checkpoints" / "formats"):
        assert not text, f"{path}: the files of a package are imported by name"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
            assert count <= 11, f"{path}:{node.lineno}: {node.name} has {count} parameters"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nothing_unsafe_or_unfinished(path: Path) -> None:
    text = path.read_text()
    for pattern in (
        r"\bTODO\b", r"\bFIXME\b", r"weights_only\s*=\s*False", r"allow_pickle\s*=\s*True", r"shell\s*=\s*True",
        r"(?<![\w.])(eval|exec)\(", r"\.extractall\(", r"except\s*:", r"except (Base)?Exception\b",
    ):  # fmt: skip
        assert not re.search(pattern, text), f"{path} has {pattern}"


def test_what_needs_no_torch_loads_none() -> None:
    code = f"import sys, importlib; [importlib.import_module(m) for m in {NO_TORCH}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
