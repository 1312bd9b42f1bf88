"""A run that is resumed with another length: the schedule that it goes on with, and the config that it leaves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saccade.cli.main import main
from saccade.errors import ConfigError
from saccade.training.config import RunConfig, ScheduleConfig, read_config
from saccade.training.extension import resumed_schedule
from saccade.training.run_directory import RunDirectory
from saccade.training.schedules import lr_factor
from tests.running import train
from tests.training.test_resume import config, weights


def scheduled(**values: object) -> RunConfig:
    return RunConfig(schedule=ScheduleConfig(**values))  # type: ignore[arg-type]


def test_the_same_length_is_the_same_schedule() -> None:
    stored = ScheduleConfig(epochs=5, earlier=((8, 8),))
    assert resumed_schedule(stored, scheduled(epochs=5), 20, 8) == (stored, "")


def test_a_longer_one_is_joined_where_the_run_stands() -> None:
    schedule, text = resumed_schedule(ScheduleConfig(epochs=5), scheduled(epochs=8), 40, 8)
    assert schedule.earlier == ((40, 40),)
    rate = 1e-3 * lr_factor(40, 64, 0.05)
    assert text.startswith("a new schedule: 8 epochs (64 steps) instead of 5 epochs (40 steps); the learning rate of")
    assert f"the next step is {rate:.2e}" in text
    again, _ = resumed_schedule(schedule, scheduled(epochs=9), 50, 8)
    assert again.earlier == ((40, 40), (50, 64))
    fallen_back, _ = resumed_schedule(schedule, scheduled(epochs=9), 32, 8)
    assert fallen_back.earlier == ((32, 40),)
    steps, text = resumed_schedule(ScheduleConfig(epochs=5), scheduled(steps=41), 40, 8)
    assert (steps.steps, steps.earlier) == (41, ((40, 40),))
    assert "41 steps instead of 5 epochs" in text


def test_a_shorter_one_ends_after_what_is_done() -> None:
    schedule, text = resumed_schedule(ScheduleConfig(epochs=5), scheduled(epochs=2), 16, 8)
    assert (schedule.epochs, text) == (2, "a new schedule: 2 epochs (16 steps) instead of 5 epochs (40 steps)")
    with pytest.raises(ConfigError, match=r"17 steps \(2.125 epochs\) of this run are done: it cannot end after 2 ep"):
        resumed_schedule(ScheduleConfig(epochs=5), scheduled(epochs=2), 17, 8)


def test_a_run_before_its_first_checkpoint_has_the_new_length_alone() -> None:
    schedule, text = resumed_schedule(ScheduleConfig(epochs=5), scheduled(epochs=8), 0, 8)
    assert schedule == ScheduleConfig(epochs=8)
    assert text


def test_the_config_of_a_longer_run_repeats_it_bit_for_bit(tmp_path: Path) -> None:
    short = config(**{"schedule.steps": 6})
    run = RunDirectory.create(short, tmp_path / "a")
    train(short, run)
    rates = [row["lr"] for row in run.metrics()]
    long = replace(short, schedule=replace(short.schedule, steps=11))
    notes: list[str] = []
    train(long, run, resume=True, on_event=lambda event: notes.append(getattr(event, "text", "")))
    assert any("a new schedule: 11 steps instead of 6 steps" in text for text in notes)
    assert any("resuming at step 6 of 11" in text for text in notes)
    stored = read_config(tmp_path / "a" / "config.yaml")
    assert stored.schedule.earlier == ((6, 6),)
    assert [row["lr"] for row in run.metrics()][: len(rates)] == rates  # nothing of the past is rewritten
    train(stored, RunDirectory.create(stored, tmp_path / "b"))
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a/checkpoints/step-00000011/manifest.json").unlink()
    train(stored, run, resume=True)  # the exact resume of a longer run, from step 10
    assert_same_weights(tmp_path / "a", tmp_path / "b")


def assert_same_weights(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--set", "model.options={depth: 1, block.embed_dim: 16, block.num_heads: 2, block.mlp_dim: 16}"]
    assert main(["train", "digits", "--epochs", "2", "--batch-size", "128", "--set", "preflight=false", *small]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", "runs/digits", "--epochs", "1"]) == 2
    assert "it cannot end after 1 epoch" in capsys.readouterr().err
    assert main(["train", "--resume", "runs/digits", "--epochs", "3", "--lr", "1"]) == 2
    assert "optimizer.lr: 0.003 -> 1.0" in capsys.readouterr().err
    assert "earlier" not in (tmp_path / "runs/digits/config.yaml").read_text()
    assert main(["train", "--resume", "runs/digits", "--epochs", "3"]) == 0
    printed = capsys.readouterr()
    assert "a new schedule: 3 epochs" in printed.err
    assert "epoch    3" in printed.err
    report = (tmp_path / "runs/digits/report.html").read_text()
    assert "earlier" in report
    assert [row["epoch"] for row in RunDirectory(tmp_path / "runs/digits").metrics()] == [1, 2, 3]
    assert main(["train", "--resume", "runs/digits", "--epochs", "3"]) == 0  # as it is
    assert "a new schedule" not in capsys.readouterr().err
