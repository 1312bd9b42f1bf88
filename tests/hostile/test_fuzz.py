"""A short run of the fuzzer: `python -m benchmarks.fuzz_images` runs longer."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_no_error_but_one_of_a_line_escapes_from_decoding(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.fuzz_images", "--runs", "300"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "Done 300 runs" in run.stderr
    assert not list(root.glob("crash-*"))
