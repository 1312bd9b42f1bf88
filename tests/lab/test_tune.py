"""The search of options: equal for each side, resumable, on the validation split."""

import json
import math
from pathlib import Path

import pytest
import yaml

from saccade.cli.main import main
from saccade.errors import ConfigError, TrainingError
from saccade.lab import tune as tuning
from saccade.lab.config import TuneConfig
from saccade.lab.grid import Job
from saccade.lab.jobs import JobResult, StudyDirectory
from saccade.lab.study import read_study
from saccade.lab.tune import Trial, edge_options, propose, tune_study
from saccade.training.run_directory import RunDirectory

STUDY = """
title: Two sides
recipe: digits
set: {schedule.steps: 2, batch_size: 16, preflight: false, data.check: 'off', data.workers: 0, data.digits.val: 0,
      model.image_size: [16, 16], optimizer.lr: 0.1}
grid:
  model: {A: {model.name: lenet}, B: {model.name: lenet, optimizer.weight_decay: 0.0}}
  data.train_size: [32, 64]
seeds: [0]
tune:
  axis: model
  metric: accuracy
  trials: 2
  at: {data.train_size: 64}
  set: {data.digits.val: 50}
  space: {optimizer.lr: {low: 1e-4, high: 1e-2, log: true}}
report: {metric: accuracy}
"""


def write(tmp_path: Path, text: str = STUDY) -> Path:
    (tmp_path / "study.yaml").write_text(text)
    return tmp_path / "study.yaml"


@pytest.mark.usefixtures("fixed_precision")
def test_tune_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "out"
    assert main(["lab", "tune", str(write(tmp_path)), "--output", str(output), "--threads", "1"]) == 0
    trials = [json.loads(line) for line in (output / "tune/trials.jsonl").read_text().splitlines()]
    assert [(trial["side"], trial["number"]) for trial in trials] == [("A", 0), ("B", 0), ("A", 1), ("B", 1)]
    assert trials[0]["options"] == trials[1]["options"]  # the random beginning is the same for both
    for trial in trials:
        config = yaml.safe_load((output / f"tune/jobs/{trial['job']}/config.yaml").read_text())
        assert config["optimizer"]["lr"] == trial["options"]["optimizer.lr"]
        assert (config["data"]["train_size"], config["data"]["digits"]["val"], config["seed"]) == (64, 50, 1000)
        rows = (output / f"tune/jobs/{trial['job']}/metrics.jsonl").read_text().splitlines()
        assert trial["value"] == json.loads(rows[-1])["val_accuracy"]
    study = read_study(output / "tuned.yaml")
    for side, record in study.config.tuned.items():
        best = max((trial for trial in trials if trial["side"] == side), key=lambda trial: trial["value"])
        assert record["trials"] == 2
        assert record["options"] == best["options"]
    assert {job.config.optimizer.lr for job in study.jobs if job.levels["model"] == "A"} == {
        study.config.tuned["A"]["options"]["optimizer.lr"]
    }
    assert all(job.config.data.digits.val == 0 for job in study.jobs)
    assert "A: 0." in capsys.readouterr().out
    before = (output / "tune/trials.jsonl").read_bytes()
    assert main(["lab", "tune", str(tmp_path / "study.yaml"), "--output", str(output)]) == 0  # nothing is missing
    assert (output / "tune/trials.jsonl").read_bytes() == before


def test_a_killed_search_proposes_the_same_trial_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between a trial's end and its record: it is proposed again, and its finished run is not repeated."""
    study, whole, killed = read_study(write(tmp_path)), tmp_path / "whole", tmp_path / "killed"
    runs: list[str] = []

    def run_job(folder: StudyDirectory, job: Job) -> JobResult:
        """A run whose accuracy is a function of the learning rate."""
        if folder.path.parent == killed and runs.append(job.id) is None and len(runs) == 3:
            finish(folder, job)
            raise KeyboardInterrupt
        return finish(folder, job)

    monkeypatch.setattr(tuning, "run_job", run_job)
    tune_study(study, whole)
    with pytest.raises(KeyboardInterrupt):
        tune_study(study, killed)
    assert len((killed / "tune/trials.jsonl").read_text().splitlines()) == 2
    tune_study(study, killed)
    assert len(runs) == len(set(runs)) == 4
    assert (killed / "tune/trials.jsonl").read_bytes() == (whole / "tune/trials.jsonl").read_bytes()
    assert (killed / "tuned.yaml").read_bytes() == (whole / "tuned.yaml").read_bytes()


def finish(folder: StudyDirectory, job: Job) -> JobResult:
    """The files of a finished run."""
    run = RunDirectory(folder.jobs / job.id)
    run.path.mkdir()
    run.write_config(job.config)
    run.append_metrics({"step": 2, "val_accuracy": 1 - job.config.optimizer.lr})
    result = JobResult(job.id, dict(job.levels), job.seed, "test", {}, 1, 1, 1.0, 1.0, 1.0, "")
    folder.write(result)
    return result


def test_a_run_that_diverges_is_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts in the budget of its side."""

    def run(config, tune, folder, side, options):
        return Trial(side, 0, options, None if side == "A" else 0.5, "id", "the loss is NaN")

    monkeypatch.setattr(tuning, "run_trial", run)
    trials: list[Trial] = []
    with pytest.raises(ConfigError, match="every trial of A failed"):
        tune_study(read_study(write(tmp_path)), tmp_path / "out", on_trial=trials.append)
    assert [trial.side for trial in trials] == ["A", "B", "A", "B"]

    def diverges(*_: object, **__: object) -> None:
        raise TrainingError("the loss is NaN")

    monkeypatch.undo()
    monkeypatch.setattr(tuning, "run_job", diverges)
    study = read_study(tmp_path / "study.yaml")
    assert study.config.tune is not None
    folder = StudyDirectory.create(tmp_path / "other", study)
    trial = tuning.run_trial(study.config, study.config.tune, folder, "A", {"optimizer.lr": 0.001})
    assert trial is not None
    assert (trial.value, trial.error) == (None, "the loss is NaN")


def test_the_search_finds_the_optimum_of_a_function() -> None:
    """-(log10 lr + 2)², largest at 0.01."""
    space = {"optimizer.lr": {"low": 1e-5, "high": 1.0, "log": True}}
    tune = TuneConfig("model", space, "accuracy", trials=25)
    trials: list[Trial] = []
    for number in range(25):
        options = propose(tune, trials)
        assert options == propose(tune, trials)
        assert 1e-5 <= options["optimizer.lr"] <= 1.0
        trials.append(Trial("A", number, options, -((math.log10(options["optimizer.lr"]) + 2) ** 2), ""))
    best = max(trials, key=lambda trial: trial.value or 0.0)
    assert abs(math.log10(best.options["optimizer.lr"]) + 2) < 0.25


def test_values_at_an_edge_are_named() -> None:
    space = {"a": {"low": 1e-4, "high": 1e-2, "log": True}, "b": [1, 2, 3], "c": ["x", "y"]}
    tune = TuneConfig("model", space, "accuracy")
    assert edge_options(tune, {"a": 1.02e-4, "b": 2, "c": "x"}) == ("a",)
    assert edge_options(tune, {"a": 1e-3, "b": 3, "c": "x"}) == ("b",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("axis: model\n", "axis: size\n", "tune.axis must be an axis of the grid"),
        ("{low: 1e-4, high: 1e-2, log: true}", "{low: 1e-4}", r"tune.space.optimizer.lr must be \[a, b"),
        ("{low: 1e-4, high: 1e-2, log: true}", "{low: 2, high: 1}", "low must be below high"),
        ("space: {optimizer.lr:", "space: {optimizer.rl:", "there is no option optimizer.rl"),
        ("set: {data.digits.val: 50}", "seed: 0", "tune.seed 0 is one of the study's seeds"),
        ("at: {data.train_size: 64}", "at: {data.train_size: 65}", "tune.at.data.train_size must be a level"),
    ],
)
def test_refusals(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in STUDY
    with pytest.raises(ConfigError, match=message):
        tune_study(read_study(write(tmp_path, STUDY.replace(old, new))), tmp_path / "out")
