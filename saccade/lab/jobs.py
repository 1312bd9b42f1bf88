"""The runs of a study on disk, and who does which.

STUDY/
  study.yaml            as it was read
  jobs/ID/              the run directory of a job
  locks/ID              locked by the process that does the job
  results/ID.json       what a finished job gave

The lock is the kernel's (flock): it ends with the process that holds it, also after `kill -9`, so that a job is never
done by two processes, and never stays locked by a dead one.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from saccade.checkpoints.atomic import remove_leftovers, write_atomic
from saccade.checkpoints.reading import read_json
from saccade.errors import ConfigError
from saccade.lab.study import Job, Study, read_study
from saccade.models.cost import measure_cost
from saccade.runs import write_task_report
from saccade.tasks import table
from saccade.tasks.loading import load
from saccade.training.events import Event
from saccade.training.loop import train
from saccade.training.run_directory import ENVIRONMENT, RunDirectory

TRAINING_PASSES = 3  # a training step costs a forward pass, and a backward pass that is two of them


@dataclass(frozen=True)
class JobResult:
    """What a finished job gave.

    Attributes:
        id, levels, seed: of the job.
        split: that the metrics were measured on.
        metrics: by name.
        params: of the model.
        inputs: images or texts seen in training.
        flops: of training: six for each multiply-add of a forward pass and input, counted.
        seconds: of training.
        wall_seconds: of the whole job in its last process: data, training, report.
        finished: date and time, UTC.
    """

    id: str
    levels: dict[str, Any]
    seed: int
    split: str
    metrics: dict[str, float]
    params: int
    inputs: int
    flops: float
    seconds: float
    wall_seconds: float
    finished: str


class StudyDirectory:
    """A study's folder."""

    def __init__(self, path: Path):
        self.path = path
        self.jobs, self.locks, self.results = path / "jobs", path / "locks", path / "results"

    @classmethod
    def create(cls, path: Path, study: Study) -> "StudyDirectory":
        """Make the folder, or go on in one. A study may have grown since; runs of before stay.

        Raises:
            ConfigError: the folder has something else.
        """
        if path.exists() and not (path / "study.yaml").is_file() and any(path.iterdir()):
            raise ConfigError(f"{path} is there already and is no study: choose another --output")
        folder = cls(path)
        for part in (folder.jobs, folder.locks, folder.results):
            part.mkdir(parents=True, exist_ok=True)
        write_atomic(path / "study.yaml", study.text.encode())
        return folder

    @classmethod
    def existing(cls, path: Path) -> "tuple[StudyDirectory, Study]":
        """The folder of a study that was started, and the study.

        Raises:
            ConfigError: it is no such folder.
        """
        if not (path / "study.yaml").is_file():
            raise ConfigError(f"{path} is no study: it has no study.yaml; start one with saccade lab run STUDY.yaml")
        return cls(path), read_study(path / "study.yaml")

    def result(self, job: Job) -> JobResult | None:
        """What a job gave; None before it is done."""
        path = self.results / f"{job.id}.json"
        return JobResult(**read_json(path)) if path.is_file() else None

    def done(self, job: Job) -> bool:
        return (self.results / f"{job.id}.json").is_file()

    @contextmanager
    def lock(self, job: Job) -> Iterator[bool]:
        """Whether this process now has the job; until the end of the `with`, or of the process."""
        descriptor = os.open(self.locks / job.id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)

    def progress(self, job: Job) -> tuple[int, float]:
        """(optimizer steps, seconds) of a job that is not done, after its last epoch."""
        rows = RunDirectory(self.jobs / job.id).metrics()
        return (rows[-1]["step"], rows[-1]["seconds"]) if rows else (0, 0.0)


def run_job(
    folder: StudyDirectory, job: Job, on_event: Callable[[Event], None] | None = None, *, report: bool = False
) -> JobResult | None:
    """Do a job whose lock this process has, from its last checkpoint if there is one; None if a signal stopped it.

    Args:
        folder: of the study.
        job: one of its jobs.
        on_event: called with everything that happens in the run.
        report: whether the run has its own page.

    Raises:
        SaccadeError: as for :func:`saccade.training.loop.train`.
    """
    began = time.perf_counter()
    path, setup = folder.jobs / job.id, table.room(job.config.task).setup
    if (path / ENVIRONMENT).is_file():
        result = train(job.config, setup, RunDirectory.existing(path), resume=True, on_event=on_event)
    else:
        if path.exists():  # killed before its first step
            shutil.rmtree(path)
        result = train(job.config, setup, output=path, on_event=on_event)
    if not result.finished:
        return None
    if report:
        write_task_report(result.run)
    predictor = load(result.run.model)
    seen = result.run.metrics()[-1]["step"] * job.config.batch_size
    cost = measure_cost(predictor.model)
    outcome = JobResult(
        id=job.id,
        levels=dict(job.levels),
        seed=job.seed,
        split=result.split,
        metrics={} if result.metrics is None else dict(result.metrics.scalars()),
        params=cost.params,
        inputs=seen,
        flops=2.0 * TRAINING_PASSES * cost.macs * seen,
        seconds=round(result.seconds, 3),
        wall_seconds=round(time.perf_counter() - began, 3),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    remove_leftovers(path)
    write_atomic(folder.results / f"{job.id}.json", json.dumps(asdict(outcome), indent=1).encode())
    return outcome
