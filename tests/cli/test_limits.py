"""Limits of the machine and of its user: little memory, a second Ctrl-C, names that no folder can have."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saccade.cli.main import main
from saccade.training.interrupt import StopRequest
from saccade.training.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]
SACCADE = [sys.executable, "-m", "saccade"]


def test_an_address_space_that_is_too_small_is_one_line() -> None:
    """Of a gigabyte, PyTorch's libraries cannot be mapped; a little more, and they end the process themselves."""
    limit = 2**30
    process = subprocess.run(
        [*SACCADE, "predict", "nothing", "nothing.png"], cwd=ROOT, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert process.returncode == 1
    assert process.stderr.startswith("saccade: not enough memory: the address space is limited to 1.0 GiB")
    assert process.stderr.count("\n") == 1
    assert not process.stdout


def test_a_second_ctrl_c_is_not_waited_for() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.timeout(200)
def test_a_second_ctrl_c_damages_nothing(tmp_path: Path) -> None:
    options = [
        "--steps",
        "100000",
        "--batch-size",
        "512",
        "--output",
        str(tmp_path / "run"),
        "--set",
        "preflight=false",
    ]
    options += ["--set", "checkpoint_seconds=0", "--set", "model.options={depth: 1}"]
    process = subprocess.Popen(
        [*SACCADE, "train", *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    run = RunDirectory(tmp_path / "run")
    deadline = time.monotonic() + 150
    while not run.checkpoints.is_dir() or not run.steps():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.05)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.02)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert run.load(run.steps()[-1]).progress.step > 0  # its checksums hold


@pytest.mark.parametrize("name", ["a\0b", "n\udce9", "file", "file/run", "x" * 300, "."])
def test_an_output_that_cannot_be_made_is_one_line(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    code = main(["train", "digits", "--steps", "1", "--output", name])
    assert code in (1, 2)
    assert capsys.readouterr().err.splitlines()[-1].startswith("saccade: ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
