"""What a resumed run compares: its config, environment and metrics with the copies in its checkpoint."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from saccade.errors import ConfigError
from saccade.nn.matmul_precision import MatmulPrecisionChoice
from saccade.training import resume
from saccade.training.config import RunConfig, resolve, with_overrides
from saccade.training.distributed import Processes
from saccade.training.events import Note
from saccade.training.resume import choose_environment, resumed_config
from saccade.training.run_directory import Checkpoint, Progress, RunDirectory

ONE = Processes(0, 1, torch.device("cpu"))
ROWS = [{"step": 4, "loss": 2.0}, {"step": 8, "loss": 1.0}]
PLAN: Any = SimpleNamespace(
    order=SimpleNamespace(steps_per_epoch=4), model=nn.Linear(2, 2), setup=SimpleNamespace(fingerprint="one")
)


class First(Processes):
    """The first one of several, without the others."""

    def broadcast_from_rank0(self, value: Any) -> Any:
        return value


@pytest.fixture
def saved(tmp_path: Path) -> tuple[RunDirectory, Checkpoint]:
    """A run of ten epochs and its checkpoint after the second one."""
    run = RunDirectory.create(resolve("digits", overrides={"schedule.epochs": 10}), tmp_path / "run")
    run.write_json("env.json", {"threads": 1})
    run.write_metrics(ROWS)
    path = run.save({"weights": {"w": torch.zeros(2)}}, Progress(step=8))
    return run, run.load(path)


def resumed(run: RunDirectory, checkpoint: Checkpoint | None, **changes: object) -> tuple[RunConfig, list[Note]]:
    notes: list[Any] = []
    config = with_overrides(run.config(), changes)
    return resumed_config(run, config, PLAN, ONE, checkpoint, notes.append), notes


def test_unchanged_files_stay_and_nothing_is_reported(saved: tuple[RunDirectory, Checkpoint]) -> None:
    run, checkpoint = saved
    before = run.config()
    assert resumed(run, checkpoint) == (before, [])
    assert run.config() == before
    assert run.metrics() == ROWS
    without = Checkpoint(checkpoint.path, checkpoint.files, checkpoint.progress, {})  # of an earlier version
    run.write_metrics([*ROWS, {"step": 12, "loss": 0.0}])
    assert resumed(run, without) == (before, [])
    assert run.metrics() == ROWS


def test_a_new_length_is_stored_with_the_old_one(saved: tuple[RunDirectory, Checkpoint]) -> None:
    run, checkpoint = saved
    config, notes = resumed(run, checkpoint, **{"schedule.epochs": 20})
    assert config.schedule.earlier == ((8, 40),)
    assert run.config() == config
    assert [note.text.partition(";")[0] for note in notes] == [
        "a new schedule: 20 epochs (80 steps) instead of 10 epochs (40 steps)"
    ]
    config, _ = resumed(run, None, **{"schedule.epochs": 30})  # begins again
    assert config.schedule.earlier == ((8, 40),)


def test_without_a_checkpoint_a_new_length_holds_from_the_first_step(saved: tuple[RunDirectory, Checkpoint]) -> None:
    config, _ = resumed(saved[0], None, **{"schedule.epochs": 20})
    assert config.schedule.epochs == 20
    assert config.schedule.earlier == ()


def test_edited_files_are_restored_or_refused(saved: tuple[RunDirectory, Checkpoint]) -> None:
    run, checkpoint = saved
    run.write_json("env.json", {"threads": 7})
    run.write_metrics(ROWS[:1])
    _, notes = resumed(run, checkpoint)
    assert notes == [
        Note(f"{run.path / name} had changed: restored from step-00000008", warning=True)
        for name in ("env.json", "metrics.jsonl")
    ]
    assert run.environment() == {"threads": 1}
    assert run.metrics() == ROWS
    run.write_config(with_overrides(run.config(), {"data.workers": 3, "schedule.epochs": 11}))  # both may change
    resumed(run, checkpoint)
    run.write_config(with_overrides(run.config(), {"seed": 3}))
    with pytest.raises(ConfigError, match=r"edited since step-00000008 was written \(seed: 0 -> 3\)"):
        resumed(run, checkpoint)


def test_the_precision_is_measured_once_at_the_size_of_a_part(
    saved: tuple[RunDirectory, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, notes = [], []

    def choose(device: torch.device, model: nn.Module, *, batch_size: int) -> MatmulPrecisionChoice:
        sizes.append(batch_size)
        return MatmulPrecisionChoice("medium", "a reason")

    monkeypatch.setattr(resume, "choose_matmul_precision", choose)
    run = saved[0]
    config = with_overrides(run.config(), {"batch_size": 48, "accumulation": 3})
    assert choose_environment(run, config, PLAN, First(0, 2, ONE.device), notes.append, resume=False) == "medium"
    assert notes == [Note("a reason", detail=True)]
    assert run.environment()["data_fingerprint"] == "one"
    run.write_json("env.json", {**run.environment(), "processes": 1, "torch": "1.0"})
    notes.clear()
    assert choose_environment(run, config, PLAN, ONE, notes.append, resume=True) == "medium"
    assert sizes == [8]
    (note,) = notes
    assert note.text.startswith(f"started with PyTorch 1.0, now with PyTorch {torch.__version__}: the bits")
    assert note.warning
