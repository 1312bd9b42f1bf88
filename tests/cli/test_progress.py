"""What `saccade train` prints where there is no terminal, and how soon."""

import subprocess
import sys
from pathlib import Path

import pytest

from saccade.cli import progress
from saccade.cli.progress import RunDisplay
from saccade.training.events import EpochDone, RunStarted, StepDone

STEP = StepDone(step=5, epoch=0.5, loss=1.25, metrics={"accuracy": 0.75}, lr=1e-3, images_per_second=100.0)
ROW = {"epoch": 1, "step": 10, "loss": 1.5, "accuracy": 0.5, "lr": 1e-3, "seconds": 1.0, "images_per_second": 640.0}


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with RunDisplay() as display:
        display(RunStarted("run", total_steps=20, steps_per_epoch=10, start_step=0, batch_size=64))
        display(STEP)
        display(EpochDone(1, ROW))
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_without_a_terminal_each_epoch_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == ["epoch    1  loss 1.5000  accuracy 50.00%  lr 1.00e-03  640 images/s"]


def test_a_dumb_terminal_gets_lines_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    monkeypatch.setenv("TERM", "dumb")
    assert [line for line in printed(capsys) if "epoch    1" in line]


def test_long_epochs_print_a_line_a_minute(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert printed(capsys)[0] == "epoch    0.5  loss 1.2500  accuracy 75.00%  100 images/s"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--epochs", "2"], "training conv_vit_digits on digits: 2 epochs, recipe digits, seed 0"),
        (
            ["photos", "--init", "vit.pth", "--steps", "9"],
            "training vit.pth on photos: 9 steps, recipe finetune, seed 0",
        ),
        (["--resume", "runs/none"], "resuming runs/none"),
    ],
)
def test_the_first_line_comes_before_torch_is_imported(tmp_path: Path, arguments: list[str], line: str) -> None:
    code = "import sys; sys.modules['torch'] = None; from saccade.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "train", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[0] == line
    assert "import of torch halted" in done.stderr


@pytest.mark.parametrize(("rate", "text"), [(0.42, "0.4"), (9.94, "9.9"), (9.96, "10"), (640.4, "640")])
def test_rates_below_ten_have_a_decimal(rate: float, text: str) -> None:
    assert progress.format_rate(rate) == text
