"""Drivers of a study: killed, two at once, with a run that fails."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from saccade.cli.main import main
from saccade.errors import ConfigError
from saccade.lab.driver import is_locked, run_study
from saccade.lab.grid import Job
from saccade.lab.jobs import StudyDirectory
from saccade.lab.ray_driver import run_on_ray
from saccade.lab.results import status
from saccade.lab.study import read_study

SMALL = """
title: One small model
recipe: digits
set: {model.name: lenet, model.image_size: [16, 16], schedule.steps: %d, batch_size: 16, preflight: false,
      data.check: "off", data.workers: 0, checkpoint_seconds: 0.0, data.digits.val: 0}
grid:
  data.train_size: [64, 128]
seeds: [0, 1]
report: {metric: accuracy, as_error: true}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL % 4)
    return tmp_path / "small.yaml"


# As the fixture fixed_precision, in a process of its own.
FIXED_PRECISION = """
import sys
from saccade.cli.main import main
from saccade.nn.matmul_precision import MatmulPrecisionChoice
from saccade.training import resume
resume.choose_matmul_precision = lambda *_, **__: MatmulPrecisionChoice("highest", "fixed")
sys.exit(main(sys.argv[1:]))
"""


def driver(study: Path, output: Path, *options: str) -> subprocess.Popen:
    arguments = ["lab", "run", str(study), "--output", str(output)]
    if "--threads" not in options:
        arguments += ["--threads", "1"]
    command = [sys.executable, "-c", FIXED_PRECISION, *arguments]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lock_holder(folder: StudyDirectory, job: Job) -> int | None:
    """The process that does a job, by the kernel's table of locks."""
    path = folder.locks / job.id
    inode = path.stat().st_ino if path.exists() else -1
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return int(words[4])
    return None


def has_worker(process: int) -> bool:
    """Whether a process of a driver imports PyTorch: then it has read what the driver sends to it."""
    numbers = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return any(b"libtorch" in Path(f"/proc/{number}/maps").read_bytes() for number in numbers)


def wait_for_worker(output: Path, driver: int, runs: Callable[[], bool], seconds: float = 400) -> tuple[Job, int]:
    """A job that a process other than the driver does and of which there is a checkpoint, and that process."""
    deadline = time.monotonic() + seconds
    while not (output / "study.yaml").is_file() and time.monotonic() < deadline and runs():
        time.sleep(0.02)
    folder, study = StudyDirectory.existing(output)
    while time.monotonic() < deadline and runs():
        for job in study.jobs:
            holder = lock_holder(folder, job)
            started = list((folder.jobs / job.id / "checkpoints").glob("step-*"))
            if holder not in (None, driver) and started and not folder.done(job):
                return job, holder
        time.sleep(0.02)
    raise AssertionError("no worker took a job")


@pytest.mark.slow
def test_a_killed_worker_leaves_its_run_to_the_others(tmp_path: Path) -> None:
    """kill -9 of a process of --processes 2 in the middle of a run: the run is resumed, and all are done. The driver
    is stopped until then, since it could do every run while its worker imports PyTorch."""
    (tmp_path / "study.yaml").write_text(SMALL % 60)
    output = tmp_path / "out"
    process = driver(tmp_path / "study.yaml", output, "--processes", "2")
    while not (tmp_path / "out" / "study.yaml").is_file() or not has_worker(process.pid):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)
    job, worker = wait_for_worker(output, process.pid, lambda: process.poll() is None)
    began = (output / "jobs" / job.id / "env.json").stat().st_mtime_ns
    os.kill(worker, signal.SIGKILL)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert len(list(output.glob("results/*.json"))) == 4
    assert (output / "jobs" / job.id / "env.json").stat().st_mtime_ns == began  # resumed, not begun again
    steps = [json.loads(line)["step"] for line in (output / "jobs" / job.id / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_study_on_ray_survives_its_driver_and_a_worker(tmp_path: Path) -> None:
    """On a local cluster, two runs at once: kill -9 of the driver in the middle of a run, whose workers end with it; a
    second driver on Ray goes on, and of that a worker is killed, whose task Ray runs again. Every run is resumed, none
    begins twice. The second driver is in this process, which has imported what a new one would import first."""
    pytest.importorskip("ray")
    (tmp_path / "study.yaml").write_text(SMALL % 60)
    output, threads = tmp_path / "out", max(1, (os.cpu_count() or 1) // 2)
    first = driver(tmp_path / "study.yaml", output, "--ray", "--threads", str(threads))
    wait_for_worker(output, first.pid, lambda: first.poll() is None)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    folder, study = StudyDirectory.existing(output)
    deadline = time.monotonic() + 60
    while any(is_locked(folder, job) for job in study.jobs) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_locked(folder, job) for job in study.jobs)
    finished = {path: path.stat().st_mtime_ns for path in output.glob("results/*.json")}
    assert len(finished) < 4
    begun = {path: path.stat().st_mtime_ns for path in output.glob("jobs/*/env.json")}
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(run_on_ray, study, output, threads=threads)
        job, worker = wait_for_worker(output, os.getpid(), lambda: not second.done())
        begun[output / "jobs" / job.id / "env.json"] = (output / "jobs" / job.id / "env.json").stat().st_mtime_ns
        os.kill(worker, signal.SIGKILL)
        outcome = second.result(timeout=400)
    assert (outcome.done, outcome.failed) == (4, {})
    assert len(list(output.glob("results/*.json"))) == 4
    assert all(path.stat().st_mtime_ns == when for path, when in (finished | begun).items())
    for path in output.glob("jobs/*/metrics.jsonl"):
        steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
        assert steps == sorted(set(steps))
        assert steps[-1] == 60


def test_a_study_that_another_driver_has_just_begun(small: Path, tmp_path: Path) -> None:
    """Its folder is there with its file at once, so that no driver sees one without the other."""
    study, output = read_study(small), tmp_path / "study"
    output.mkdir()
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: StudyDirectory.create(output, study), range(8)))
    assert {folder.path for folder in folders} == {output}
    StudyDirectory._begin(output, study)  # the folder is not empty: this driver came second
    assert sorted(path.name for path in output.iterdir()) == ["jobs", "locks", "results", "study.yaml"]
    assert not list(tmp_path.glob(".*.tmp"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("")
    with pytest.raises(ConfigError, match="is no study"):
        StudyDirectory.create(tmp_path / "other", study)


def test_ray_takes_no_options_of_local_processes(small: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["lab", "run", str(small), "--processes", "2", "--ray"]) == 2
    assert "--ray takes one address, and neither --processes" in capsys.readouterr().err
    assert main(["lab", "run", str(small), "--gpus", "1"]) == 2


def weights(folder: Path) -> dict[str, dict[str, bytes]]:
    """The bytes of every tensor of every model."""
    files = {path.parents[1].name: load_file(path) for path in folder.glob("jobs/*/model/model.safetensors")}
    return {job: {name: tensor.tobytes() for name, tensor in tensors.items()} for job, tensors in files.items()}


@pytest.mark.usefixtures("fixed_precision")
def test_a_study_from_run_to_report(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "study"
    assert main(["lab", "run", str(small), "--output", str(output), "--threads", "1"]) == 0
    assert "4 of 4 runs done" in capsys.readouterr().out
    lines = (output / "results.csv").read_text().splitlines()
    assert lines[0].startswith("job,data.train_size,seed,params,inputs,flops,stage_flops,seconds,cpu_seconds")
    assert len(lines) == 5
    page = (output / "report.html").read_text()
    assert page.count("<svg") == 1
    assert "One small model" in page
    folder, study = StudyDirectory.existing(output)
    result = folder.result(study.jobs[0])
    assert result is not None
    assert result.inputs == 4 * 16
    assert result.metrics["accuracy"] > 0
    before = {path: path.stat().st_mtime_ns for path in output.glob("results/*.json")}
    assert main(["lab", "run", str(output / "study.yaml"), "--output", str(output)]) == 0
    assert {path: path.stat().st_mtime_ns for path in output.glob("results/*.json")} == before  # nothing was repeated
    capsys.readouterr()
    assert main(["lab", "status", str(output)]) == 0
    assert "4 of 4 jobs done, 0 running" in capsys.readouterr().out


@pytest.mark.usefixtures("fixed_precision")
def test_a_killed_driver_goes_on_where_it_was(tmp_path: Path) -> None:
    """kill -9 in the middle of a run: its finished runs stay as they are, the broken one is resumed, and the weights
    are those of a study that nobody killed."""
    (tmp_path / "study.yaml").write_text(SMALL % 16)
    one, other = tmp_path / "killed", tmp_path / "whole"
    process = driver(tmp_path / "study.yaml", one)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if list(one.glob("results/*.json")) and len(list(one.glob("jobs/*/checkpoints/step-*"))) >= 3:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder, study = StudyDirectory.existing(one)
    finished = {path: path.stat().st_mtime_ns for path in one.glob("results/*.json")}
    assert 1 <= len(finished) < 4
    assert not any(is_locked(folder, job) for job in study.jobs)  # a dead process holds no lock
    begun = [job for job in study.jobs if not folder.done(job) and (one / "jobs" / job.id / "env.json").is_file()]
    assert run_study(study, one, threads=1).done == 4
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    assert run_study(study, other, threads=1).done == 4
    assert weights(one) == weights(other)
    for job in begun:
        lines = (one / "jobs" / job.id / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(set(steps))


def test_two_drivers_and_a_worker_do_every_run_once(small: Path, tmp_path: Path) -> None:
    output = tmp_path / "study"
    drivers = [driver(small, output, "--processes", "2"), driver(small, output)]
    texts = [process.communicate(timeout=250) for process in drivers]
    assert [process.returncode for process in drivers] == [0, 0], texts
    _, study = StudyDirectory.existing(output)
    ended = [line.split()[0] for _, err in texts for line in err.splitlines() if line.endswith(" s")]
    assert len(ended) == len(set(ended)) <= 4  # the rest was done by the worker
    assert len(list(output.glob("results/*.json"))) == 4
    for job in study.jobs:
        rows = (output / "jobs" / job.id / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(row)["step"] for row in rows] == sorted({json.loads(row)["step"] for row in rows})


@pytest.mark.usefixtures("fixed_precision")
def test_a_locked_run_is_left_to_who_has_it(small: Path, tmp_path: Path) -> None:
    study = read_study(small)
    folder = StudyDirectory.create(tmp_path / "study", study)
    held = os.open(folder.locks / study.jobs[0].id, os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    outcome = run_study(study, folder.path, threads=1)
    assert (outcome.done, outcome.elsewhere, outcome.failed) == (3, 1, {})
    now = status(folder, study)
    assert (now.done, now.running) == (3, 1)
    assert now.seconds_left is not None
    assert now.seconds_left > 0
    os.close(held)
    assert run_study(study, folder.path, threads=1).done == 4


@pytest.mark.usefixtures("fixed_precision")
def test_a_run_that_fails_does_not_end_the_study(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    small.write_text(small.read_text().replace("[64, 128]", "[64, 5000]"))
    assert main(["lab", "run", str(small), "--output", str(tmp_path / "study"), "--threads", "1"]) == 1
    output = capsys.readouterr()
    assert "2 of 4 runs done" in output.out
    assert "data.train_size must be from 1 to the 1437 training inputs, not 5000" in output.err


def test_a_folder_with_something_else_is_refused(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    assert main(["lab", "run", str(small), "--output", str(tmp_path / "other")]) == 2
    assert "is no study" in capsys.readouterr().err
    assert main(["lab", "status", str(tmp_path / "other")]) == 2
