"""Experiment trackers: what they receive, offline; resumed runs; trackers that fail or are missing."""

import inspect
import json
import sqlite3
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from saccade.cli.main import main
from saccade.errors import ConfigError
from saccade.training.config import RunConfig, TrackingConfig, resolve
from saccade.training.events import EpochDone, Event, Note, RunEnded, RunStarted, StepDone
from saccade.training.tracking import tracking
from saccade.training.tracking.tracking import IDENTITIES, require_trackers, tracked

ROW = {"epoch": 1, "step": 20, "loss": 1.5, "val_accuracy": 0.75, "lr": 0.1, "images_per_second": 9.0}
EVENTS: list[Event] = [
    RunStarted("run", 20, 20, 0, 4),
    *(StepDone(step, step / 20, 2.0 - step / 100, {"accuracy": step / 20}, 0.1, 9.0) for step in range(1, 21)),
    EpochDone(1, ROW),
    RunEnded("test", {"accuracy": 0.5, "loss": float("nan")}, 20),
]


def config_for(*trackers: str) -> RunConfig:
    return replace(resolve("digits"), tracking=TrackingConfig(to=trackers, project="trial"))  # type: ignore[arg-type]


def play(config: RunConfig, folder: Path, events: list[Event] = EVENTS) -> list[Event]:
    """The events of a run, sent to the trackers of its config; returns what the other watcher got."""
    folder.mkdir(exist_ok=True)
    received: list[Event] = []
    with tracked(config, folder, received.append) as watcher:
        for event in events:
            watcher(event)
    return received


def test_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert play(config_for("tensorboard"), tmp_path / "run") == EVENTS
    content = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert [(e.step, round(e.value, 4)) for e in content.Scalars("step/loss")] == [(10, 1.9), (20, 1.8)]
    assert [e.value for e in content.Scalars("epoch/val_accuracy")] == [0.75]
    assert [e.value for e in content.Scalars("test/accuracy")] == [0.5]
    assert "test/loss" not in content.Tags()["scalars"]  # NaN
    texts = {tag: content.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in content.Tags()["tensors"]}
    assert "optimizer.lr: 0.003" in texts["config/text_summary"]
    assert texts["model card/text_summary"].endswith("run/model/README.md")


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert play(config_for("mlflow"), tmp_path / "run") == EVENTS
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("trial")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["optimizer.lr"] == "0.003"
    assert [(m.step, round(m.value, 4)) for m in client.get_metric_history(run.info.run_id, "step/loss")] == [
        (10, 1.9), (20, 1.8),
    ]  # fmt: skip
    assert run.data.metrics["test/accuracy"] == 0.5
    assert run.data.tags["model card"].endswith("run/model/README.md")
    play(config_for("mlflow"), tmp_path / "run", EVENTS[:5])  # resumed, then stopped: the same run
    (again,) = client.search_runs([experiment.experiment_id])
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "KILLED")


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert play(config_for("wandb"), tmp_path / "run") == EVENTS
    (file,) = (tmp_path / "run").glob("wandb/offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 60  # another process writes the file
    while b"README.md" not in file.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    content = file.read_bytes()
    for text in (b"optimizer.lr", b"step/loss", b"epoch/val_accuracy", b"test/accuracy", b"run/model/README.md"):
        assert text in content, text


def test_a_resumed_run_is_one_run_in_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline each process writes a folder of its own; both are of the same run, which `wandb sync` joins."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    play(config_for("wandb"), tmp_path / "run", EVENTS[:11])  # stopped after step 10
    identity = json.loads((tmp_path / "run" / IDENTITIES).read_text())["wandb"]
    resumed = [RunStarted("run", 20, 20, 10, 4), *EVENTS[11:]]
    play(config_for("wandb"), tmp_path / "run", resumed)
    assert json.loads((tmp_path / "run" / IDENTITIES).read_text()) == {"wandb": identity}
    files = sorted((tmp_path / "run").glob("wandb/offline-run-*/run-*.wandb"))
    assert [file.name for file in files] == [f"run-{identity}.wandb"] * len(files)
    deadline = time.monotonic() + 60  # another process writes the files
    while b"README.md" not in b"".join(map(Path.read_bytes, files)) and time.monotonic() < deadline:
        time.sleep(0.1)
    content = b"".join(map(Path.read_bytes, files))
    assert b"step/loss" in content
    assert b"test/accuracy" in content


class StandInRun:
    """A run of the stand-in below: rows of (step, values)."""

    def __init__(self, name: str):
        self.name, self.rows, self.opened, self.finished = name, [], 1, 0

    def log(self, metrics: dict, step: int | None = None) -> None:
        self.rows.append((len(self.rows) if step is None else step, metrics))

    def finish(self) -> None:
        self.finished += 1


class StandInTrackio(ModuleType):
    """trackio.init of trackio 0.43, which cannot be installed beside Saccade's Pillow: a run is found by its name."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.runs: list[tuple[str, StandInRun]] = []

    def init(
        self, project: str, name: str | None = None, *, config: dict | None = None, resume: str = "never",
        embed: bool = True, auto_log_gpu: bool | None = None, auto_log_cpu: bool | None = None,
    ) -> StandInRun:  # fmt: skip
        assert name is not None
        assert config is not None
        assert resume in ("never", "allow")
        earlier = [run for place, run in self.runs if (place, run.name) == (project, name)]
        if resume == "never" or not earlier:
            self.runs.append((project, StandInRun(name)))
            return self.runs[-1][1]
        earlier[-1].opened += 1
        return earlier[-1]


def play_twice(folder: Path) -> str:
    """A run that is stopped after step 10 and resumed, and beside it one of another folder with the same name; returns
    by which name trackio finds the first."""
    play(config_for("trackio"), folder, EVENTS[:11])
    identity = json.loads((folder / IDENTITIES).read_text())["trackio"]
    (folder.parent / "other").mkdir()
    play(config_for("trackio"), folder.parent / "other" / folder.name, EVENTS[:11])
    play(config_for("trackio"), folder, [RunStarted("run", 20, 20, 10, 4), *EVENTS[11:]])
    assert json.loads((folder / IDENTITIES).read_text()) == {"trackio": identity}
    return identity


def test_a_resumed_run_is_one_run_in_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio = StandInTrackio()
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    identity = play_twice(tmp_path / "run")
    (_, first), (_, other) = trackio.runs
    assert first.name == identity != other.name
    assert (first.opened, first.finished, other.opened) == (2, 2, 1)
    assert [step for step, values in first.rows if "step/loss" in values] == [10, 20]
    assert any("test/accuracy" in values for _, values in first.rows)
    assert not any("test/accuracy" in values for _, values in other.rows)


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    real, stand_in = (inspect.signature(init).parameters for init in (trackio.init, StandInTrackio().init))
    assert {name: one.default for name, one in stand_in.items()} == {name: real[name].default for name in stand_in}
    identity = play_twice(tmp_path / "run")
    (file,) = (tmp_path / "trackio").glob("trial*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select run_id, step, metrics from metrics where run_name = ?", [identity]).fetchall()
        configs = database.execute("select config from configs where run_name = ?", [identity]).fetchall()
        assert database.execute("select count(distinct run_id) from metrics").fetchone() == (2,)
    assert len({run for run, _, _ in rows}) == 1
    assert sorted(step for _, step, text in rows if "step/loss" in str(text)) == [10, 20]
    text = " ".join(map(str, rows))
    for name in ("epoch/val_accuracy", "test/accuracy", "model card"):
        assert name in text, name
    assert "optimizer.lr" in str(configs)


class Broken:
    """A tracker whose server goes away after the first call."""

    package = "sqlite3"

    def __init__(self, run: object):
        self.identity, self.errors, self.calls = "1", (ConnectionError,), 0

    def log(self, values: object, step: int) -> None:
        self.calls += 1
        if self.calls > 1:
            raise ConnectionError("the server\nis gone")

    def describe(self, texts: object) -> None:
        raise AssertionError

    def close(self, *, finished: bool) -> None:
        raise AssertionError


def test_a_tracker_that_fails_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "TRACKERS", {"wandb": Broken})
    received = play(config_for("wandb"), tmp_path / "run")
    notes = [event for event in received if isinstance(event, Note)]
    assert notes == [Note("wandb failed, and the run continues without it: the server is gone", warning=True)]
    assert [event for event in received if not isinstance(event, Note)] == EVENTS


def test_a_missing_package_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Broken, "package", "no_such_package")
    monkeypatch.setattr(tracking, "TRACKERS", {"wandb": Broken})
    with pytest.raises(ConfigError, match="wandb needs one more package: pip install no_such_package"):
        require_trackers(config_for("wandb"))
    assert main(["train", "--track", "wandb", "--steps", "1", "--output", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists()
    assert main(["train", "--set", "tracking.to=[neptune]", "--dry-run"]) == 2
    assert "tracking.to[0] must be one of tensorboard, mlflow, wandb, trackio" in capsys.readouterr().err


def test_a_run_without_trackers_has_none_in_its_config() -> None:
    assert "tracking" not in resolve("digits").to_dict()
    assert config_for("wandb").to_dict()["tracking"] == {"to": ["wandb"], "project": "trial", "every": 10}


def test_a_tracked_run_that_is_trained_longer(tmp_path: Path) -> None:
    """`train --track tensorboard`, then `--resume` with more steps: one curve."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = str(tmp_path / "run")
    small = ["--set", "preflight=false", "--set", "model.image_size=[16,16]", "--set", "tracking.every=1"]
    assert main(["train", "--model", "lenet", "--steps", "2", "--output", run, "--track", "tensorboard", *small]) == 0
    assert main(["train", "--resume", run, "--steps", "4"]) == 0
    content = accumulator.EventAccumulator(f"{run}/tensorboard").Reload()
    assert [event.step for event in content.Scalars("step/loss")] == [1, 2, 3, 4]
    assert [event.step for event in content.Scalars("test/accuracy")] == [2, 4]
