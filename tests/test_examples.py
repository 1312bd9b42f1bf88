"""The scripts in examples/ run as they stand, with short trainings."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
ARGUMENTS = {"python_api": ["1"]}  # epochs


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs(path: Path) -> None:
    arguments = ARGUMENTS.get(path.stem, [])
    ended = subprocess.run([sys.executable, str(path), *arguments], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
