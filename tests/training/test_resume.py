"""A run that was killed and resumed computes the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import saccade.training.run_directory as run_directory
from saccade.errors import ConfigError, DataError, TrainingError
from saccade.training.config import RunConfig, resolve, with_overrides
from saccade.training.run_directory import RunDirectory
from tests.photos import make_photos
from tests.running import train

ROOT = Path(__file__).parents[2]
SMALL = {
    "model.name": "vit_digits",
    "model.options": {"depth": 2, "block.embed_dim": 32, "block.mlp_dim": 64, "block.attention_dropout": 0.1},
    "model.dropout": 0.1,
    "model.drop_path": 0.1,
    "augmentation.crop_scale": [0.5, 1.0],
    "augmentation.flip": 0.5,
    "augmentation.mixup": 0.2,
    "ema": 0.9,
    "batch_size": 16,
    "checkpoint_seconds": 0.0,
    "preflight": False,
    "data.check": "off",
    "optimizer.lr": 1e-3,
}


def config(**changes: object) -> RunConfig:
    return resolve("digits", overrides={**SMALL, **changes})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model" / "model.safetensors")


def assert_same_bits(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    rows = [
        [{k: row[k] for k in ("step", "loss", "accuracy", "lr")} for row in RunDirectory(p).metrics()]
        for p in (one, other)
    ]
    assert rows[0] == rows[1]


def run_harness(folder: Path, name: str, chosen: RunConfig, kills: int, longest: float) -> int:
    """Run a training that is killed so many times: how many of the kills hit."""
    (folder / f"{name}.yaml").write_text(chosen.to_yaml())
    arguments = [str(folder / f"{name}.yaml"), str(folder / name), str(kills), "7", str(longest)]
    command = [sys.executable, "-m", "tests.training.kill_harness", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[-1])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Number of steps -> a run of so many that nobody killed, without processes that load data."""
    folder = tmp_path_factory.mktemp("undisturbed")

    @cache
    def run(steps: int) -> Path:
        assert run_harness(folder, f"{steps}", config(**{"schedule.steps": steps}), 0, 1.0) == 0
        return folder / f"{steps}"

    return run


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("workers", "kills", "longest", "steps"),
    [
        (0, 3, 0.6, 75),
        pytest.param(2, 4, 1.2, 75, marks=pytest.mark.slow),
        *(pytest.param(*case, 1.6, 150, marks=pytest.mark.long) for case in ((0, 12), (2, 8))),
    ],
)
def test_random_kills(
    tmp_path: Path, undisturbed: Callable[[int], Path], workers: int, kills: int, longest: float, steps: int
) -> None:
    """The bits of a run that nobody killed, which are also the same with and without loading processes."""
    chosen = config(**{"data.workers": workers, "schedule.steps": steps})
    assert run_harness(tmp_path, "killed", chosen, kills, longest) == kills
    assert_same_bits(undisturbed(steps), tmp_path / "killed")
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*.tmp"))


def test_keeps_the_last_two_and_falls_back_from_a_damaged_one(tmp_path: Path) -> None:
    chosen = config(**{"schedule.steps": 6})
    train(chosen, RunDirectory.create(chosen, tmp_path / "a"))
    run = RunDirectory.create(chosen, tmp_path / "b")
    train(chosen, run)
    assert [p.name for p in run.steps()] == ["step-00000005", "step-00000006"]
    damaged = run.steps()[-1] / "optimizer.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1  # one bit
    damaged.write_bytes(content)
    events = []
    train(chosen, run, resume=True, on_event=events.append)
    said = [e.text for e in events if hasattr(e, "text")]
    assert any("damaged" in text and "step-00000006" in text for text in said)
    assert any("step 5 of 6" in text for text in said)
    assert_same_bits(tmp_path / "a", tmp_path / "b")


def test_without_a_whole_checkpoint_it_begins_again(tmp_path: Path) -> None:
    chosen = config(**{"schedule.steps": 4})
    run = RunDirectory.create(chosen, tmp_path / "a")
    train(chosen, run)
    before = weights(tmp_path / "a")
    for path in run.steps():
        (path / "manifest.json").unlink()
    train(chosen, run, resume=True)
    assert all(torch.equal(before[n], t) for n, t in weights(tmp_path / "a").items())


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = config(**{"schedule.steps": 6})
    run = RunDirectory.create(chosen, tmp_path / "a")
    real, calls = run_directory.save_file, []

    def full(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) > 8:
            raise OSError(28, "No space left on device")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run_directory, "save_file", full)
    with pytest.raises(TrainingError, match=r"disk is full.*step-\d+ is intact.*--resume"):
        train(chosen, run)
    kept = run.steps()[-1]
    run.load(kept)  # its checksums hold
    assert not list(run.checkpoints.glob(".*.tmp"))
    monkeypatch.setattr(run_directory, "save_file", real)
    train(chosen, run, resume=True)
    other = RunDirectory.create(chosen, tmp_path / "b")
    train(chosen, other)
    assert_same_bits(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_says_how_to_go_on_and_exits(tmp_path: Path, number: int, code: int) -> None:
    """The signal goes to the loader's workers too, as from a terminal, `timeout` or a scheduler. The child does not
    ignore SIGHUP, also where these tests themselves run under nohup."""
    arguments = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items() if key != "checkpoint_seconds"]
    options = ["--output", str(tmp_path / "run"), "--epochs", "200", "--workers", "2"]
    command = [sys.executable, "-m", "saccade", "train", *options, *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 150
    while not RunDirectory(tmp_path / "run").metrics():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.1)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == code, err[-2000:]
    assert f"saccade train --resume {tmp_path / 'run'}" in out
    run = RunDirectory(tmp_path / "run")
    assert run.load(run.steps()[-1]).progress.step > 0


def test_resume_refuses_data_that_has_changed(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=20)
    chosen = config(**{"data.path": str(photos), "model.options": {**SMALL["model.options"], "in_channels": 3}})  # type: ignore[dict-item]
    chosen = with_overrides(chosen, {"schedule.steps": 2})
    run = RunDirectory.create(chosen, tmp_path / "a")
    train(chosen, run)
    (photos / "cat/0.png").unlink()
    with pytest.raises(DataError, match="not the data that"):
        train(chosen, run, resume=True)


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    chosen = config(**{"model.name": "vit_b17"})
    with pytest.raises(ConfigError, match="did you mean"):
        train(chosen, output=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_resume_refuses_another_config_and_new_runs_refuse_old_folders(tmp_path: Path) -> None:
    from saccade.cli.main import main

    chosen = config(**{"schedule.steps": 2})
    run = RunDirectory.create(chosen, tmp_path / "a")
    train(chosen, run)
    assert main(["train", "--resume", str(tmp_path / "a"), "--lr", "0.5"]) == 2
    assert main(["train", "--output", str(tmp_path / "a")]) == 2
    assert main(["train", "--resume", str(tmp_path / "nothing")]) == 2
    with pytest.raises(ConfigError, match="--resume"):
        RunDirectory.create(chosen, tmp_path / "a")


def stopped_run(folder: Path, **changes: object) -> tuple[RunConfig, RunDirectory]:
    """A run that ended, with the checkpoints of its last two steps."""
    chosen = config(**{"schedule.steps": 3, **changes})
    run = RunDirectory.create(chosen, folder)
    train(chosen, run)
    return chosen, run


def notes_of(chosen: RunConfig, run: RunDirectory) -> list[str]:
    events = []
    train(chosen, run, resume=True, on_event=events.append)
    return [event.text for event in events if hasattr(event, "text")]


def test_an_edited_config_is_refused(tmp_path: Path) -> None:
    _, run = stopped_run(tmp_path / "a")
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    with pytest.raises(ConfigError, match=r"config\.yaml has been edited since step-00000003.*seed: 0 -> 1"):
        train(run.config(), run, resume=True)
    (run.path / "config.yaml").write_text(text)
    train(run.config(), run, resume=True)


def test_edited_metrics_and_environment_are_restored(tmp_path: Path) -> None:
    chosen, run = stopped_run(tmp_path / "a", **{"schedule.steps": 90, "checkpoint_seconds": 60.0})  # an epoch has 89
    rows, environment = run.metrics(), run.environment()
    assert len(rows) == 2
    (run.path / "metrics.jsonl").write_text(json.dumps({**rows[0], "loss": 0.0}) + "\n")
    run.write_json("env.json", {**environment, "matmul_precision": "bfloat16"})
    notes = notes_of(chosen, run)
    assert sum("had changed: restored" in text for text in notes) == 2
    assert run.metrics() == rows
    assert run.environment() == environment


def test_another_number_of_processes_is_reported(tmp_path: Path) -> None:
    chosen, run = stopped_run(tmp_path / "a")
    for path in run.steps():  # a run of an earlier version, whose checkpoints have no copies
        (path / "env.json").unlink()
        run_directory.write_manifest(path)
    run.write_json("env.json", {**run.environment(), "processes": 2})
    assert any("started with 2 processes, now with 1 processes" in text for text in notes_of(chosen, run))


def test_weights_that_are_not_finite_are_never_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and weights stay finite; a moment of the optimizer overflows in the update."""
    step = torch.optim.AdamW.step

    def overflow(optimizer: torch.optim.AdamW, closure: None = None) -> None:
        step(optimizer, closure)
        next(iter(optimizer.state.values()))["exp_avg_sq"].fill_(torch.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", overflow)
    chosen = config(**{"schedule.steps": 1, "preflight": False})
    run = RunDirectory.create(chosen, tmp_path / "a")
    with pytest.raises(
        TrainingError, match=r"NaN or infinite \(.*no checkpoint is written.*smaller learning rate than optimizer\.lr="
    ):
        train(chosen, run)
    assert not run.steps()
    assert not (run.path / "model").exists()


def test_replaced_images_of_the_same_size_are_other_data(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=20)
    chosen = config(**{"data.path": str(photos), "model.options": {**SMALL["model.options"], "in_channels": 3}})  # type: ignore[dict-item]
    chosen = with_overrides(chosen, {"schedule.steps": 2})
    run = RunDirectory.create(chosen, tmp_path / "a")
    train(chosen, run)
    image = photos / "cat/0.png"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    image.write_bytes(content)
    with pytest.raises(DataError, match="not the data that"):
        train(chosen, run, resume=True)


AUTO = ["--resume", "auto", "--recipe", "digits", *(f"--set={key}={json.dumps(value)}" for key, value in SMALL.items())]


def test_one_command_begins_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.cli.main import main

    run = RunDirectory(tmp_path / "run")
    command = ["train", "digits", "--steps", "3", "--output", str(run.path), *AUTO]
    assert main(command) == 0
    assert run.is_finished
    assert main(command) == 0
    assert "is finished" in capsys.readouterr().err
    run.report.unlink()  # killed before the report
    assert main([*command, "--workers", "0", "--device", "cpu"]) == 0
    assert "resuming at step 3 of 3" in capsys.readouterr().err
    assert main([*command, "--seed", "5"]) == 2
    assert "started with another config" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_restarts_of_torchrun(tmp_path: Path) -> None:
    """A process that is killed is started again by torchrun, with the same command, and ends with the same bits."""
    chosen = config(**{"schedule.steps": 60})
    train(chosen, RunDirectory.create(chosen, tmp_path / "whole"))
    run = RunDirectory(tmp_path / "run")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "--max-restarts", "2"]
    command = ["-m", "saccade", "train", "digits", "--steps", "60", "--output", str(run.path), *AUTO]
    process = subprocess.Popen(
        [sys.executable, *torchrun, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 200
    while not (run.checkpoints.is_dir() and run.steps()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert "resuming at step" in err
    assert_same_bits(tmp_path / "whole", run.path)


def test_a_second_process_is_refused_while_the_first_trains(tmp_path: Path) -> None:
    chosen, run = stopped_run(tmp_path / "a")
    holder = "import sys; from saccade.training.run_directory import RunDirectory; "
    holder += "lock = RunDirectory.existing(sys.argv[1]).lock(); print('locked', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"locked"
        with pytest.raises(TrainingError, match="another process is training"):
            train(chosen, run, resume=True)
        process.kill()  # the kernel releases the lock
    train(chosen, run, resume=True)


def test_folders_are_whole_or_the_users_own(tmp_path: Path) -> None:
    chosen = config(**{"model.options": {"depth": 1}, "preflight": True, "optimizer.lr": 1e-3})
    mine = tmp_path / "mine"
    mine.mkdir()
    run = RunDirectory.create(chosen, mine)
    with pytest.raises(KeyboardInterrupt), run.removed_unless_started():
        raise KeyboardInterrupt
    assert mine.is_dir()
    assert not any(mine.iterdir())
    run = RunDirectory.create(chosen, tmp_path / "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "new"]
    with pytest.raises(KeyboardInterrupt), run.removed_unless_started():
        raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()


def test_weights_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        _, run = stopped_run(tmp_path / "a")
    finally:
        os.umask(before)
    assert (run.model / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert run.path.stat().st_mode & 0o777 == 0o755
