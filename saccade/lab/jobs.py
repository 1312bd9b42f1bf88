"""The runs of a study on disk, and their locks.

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
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from saccade.checkpoints.atomic import remove_leftovers, write_atomic
from saccade.checkpoints.reading import read_json
from saccade.config_io import build_config
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.lab.grid import Job
from saccade.lab.measuring import Value, require, take
from saccade.lab.study import Study, read_study
from saccade.models.cost import measure_cost
from saccade.runs import write_task_report
from saccade.tasks import table
from saccade.tasks.loading import load
from saccade.training.config import RunConfig, with_overrides
from saccade.training.events import Event
from saccade.training.loop import train
from saccade.training.run_directory import ENVIRONMENT, RunDirectory

TRAINING_PASSES = 3  # a training step costs a forward pass, and a backward pass that is two of them


@dataclass(frozen=True)
class JobResult:
    """Result of a finished job.

    Attributes:
        id, levels, seed: of the job.
        split: that the metrics were measured on.
        metrics: by name.
        params: of the model.
        inputs: images or texts seen in training.
        flops: of training: six for each multiply-add of a forward pass and input, counted.
        seconds: of training.
        wall_seconds: of the whole job in its last process: data, training, report, measures.
        finished: date and time, UTC.
        cpu_seconds: processor time of training over all threads and loader processes, which other processes on the
            machine lengthen less than `seconds`; those of a loader that was killed are missing.
        stage_flops, stage_cpu_seconds: of the runs whose models this one started from.
        measures: numbers by name of each measure, by the measure's key.
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
    cpu_seconds: float = 0.0
    stage_flops: float = 0.0
    stage_cpu_seconds: float = 0.0
    measures: dict[str, dict[str, Value]] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Value]:
        """Every number of the run by name: costs, metrics, measures. FLOPs and processor time include the stages."""
        costs: dict[str, Value] = {
            "params": self.params, "inputs": self.inputs, "flops": self.flops + self.stage_flops,
            "seconds": self.seconds, "cpu_seconds": self.cpu_seconds + self.stage_cpu_seconds,
        }  # fmt: skip
        return costs | self.metrics | {name: v for values in self.measures.values() for name, v in values.items()}


class StudyDirectory:
    """A study's folder."""

    def __init__(self, path: Path):
        self.path = path
        self.jobs, self.locks, self.results = path / "jobs", path / "locks", path / "results"

    @classmethod
    def create(cls, path: Path, study: Study) -> "StudyDirectory":
        """Create the folder, or continue in an existing one. If the study has grown, earlier runs are kept.

        Raises:
            ConfigError: the folder has something else.
        """
        content = path.exists() and any(path.iterdir())  # before study.yaml: another driver may begin at this moment
        if content and not (path / "study.yaml").is_file():
            raise ConfigError(f"{path} already exists and is no study: choose another --output")
        if not content:
            cls._begin(path, study)
        folder = cls(path)
        for part in (folder.jobs, folder.locks, folder.results):
            part.mkdir(parents=True, exist_ok=True)
        write_atomic(path / "study.yaml", study.text.encode())
        return folder

    @staticmethod
    def _begin(path: Path, study: Study) -> None:
        """Make the folder with its file at once, unless another driver has just made it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
        temporary.mkdir()
        (temporary / "study.yaml").write_text(study.text, encoding="utf-8")
        try:
            temporary.rename(path)
        except OSError:
            shutil.rmtree(temporary)
            if not (path / "study.yaml").is_file():
                raise

    @classmethod
    def existing(cls, path: Path) -> "tuple[StudyDirectory, Study]":
        """The folder of a study that was started, and the study.

        Raises:
            ConfigError: it is not the folder of a study.
        """
        if not (path / "study.yaml").is_file():
            raise ConfigError(f"{path} is no study: it has no study.yaml; start one with saccade lab run STUDY.yaml")
        return cls(path), read_study(path / "study.yaml")

    def result(self, job: Job) -> JobResult | None:
        """Result of a job; None before its training is done. Measures may be missing until the job is finished."""
        return self.result_of(job.id)

    def result_of(self, id: str) -> JobResult | None:
        """Result of the job with an id."""
        path = self.results / f"{id}.json"
        return build_config(JobResult, read_json(path), f"{path}: ") if path.is_file() else None

    def write(self, result: JobResult) -> None:
        write_atomic(self.results / f"{result.id}.json", json.dumps(asdict(result), indent=1).encode())

    def done(self, job: Job) -> bool:
        """Whether a job is trained and measured."""
        if not job.measures:
            return (self.results / f"{job.id}.json").is_file()
        result = self.result(job)
        return result is not None and all(measure.key in result.measures for measure in job.measures)

    def ready(self, job: Job) -> bool:
        """Whether the models that a job starts from exist."""
        return all((self.results / f"{id}.json").is_file() for id in job.needs.values())

    def config(self, job: Job) -> RunConfig:
        """The config of a job with the paths of the models that it starts from."""
        return with_overrides(job.config, {option: str(self.jobs / id) for option, id in job.needs.items()})

    @contextmanager
    def lock(self, job: Job) -> Iterator[bool]:
        """Whether this process has locked the job, until the end of the `with` block or of the process."""
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
    """Run or continue a job that this process has locked; None if a signal stopped it.

    Args:
        folder: of the study.
        job: one of its jobs, which is ready.
        on_event: called with everything that happens in the run.
        report: whether the run has its own page.

    Raises:
        SaccadeError: as for :func:`saccade.training.loop.train`; or the model cannot give a measure of the study.
    """
    began = time.perf_counter()
    result = folder.result(job)
    if result is None:
        result = train_job(folder, job, on_event, report=report)
        if result is None:
            return None
        result = replace(result, wall_seconds=round(time.perf_counter() - began, 3))
        folder.write(result)
    names = set(result.values)
    for measure in job.measures:
        if measure.key in result.measures:
            continue
        start = time.perf_counter()
        values = take(measure, folder.jobs / job.id / "model", folder.config(job))
        twice = sorted(names & set(values))
        if twice:
            raise ConfigError(f"two measures give {twice[0]}: set a prefix for one, as {measure.kind}: {{prefix: …}}")
        names |= set(values)
        seconds = round(result.wall_seconds + time.perf_counter() - start, 3)
        result = replace(result, measures={**result.measures, measure.key: values}, wall_seconds=seconds)
        folder.write(result)
    return result


def train_job(
    folder: StudyDirectory, job: Job, on_event: Callable[[Event], None] | None, *, report: bool
) -> JobResult | None:
    """The training of a job, from its last checkpoint if there is one; arguments as for :func:`run_job`."""
    path, config = folder.jobs / job.id, folder.config(job)

    def setup(config: RunConfig, device: torch.device) -> TrainingSetup:
        """Data and model, after checking that the model supports the study's measures."""
        content = table.setup(config, device)
        for measure in job.measures:
            require(measure, content, config)
        return content

    if (path / ENVIRONMENT).is_file():
        run = train(config, setup, RunDirectory.existing(path), resume=True, on_event=on_event)
    else:
        if path.exists():  # killed before its first step
            shutil.rmtree(path)
        run = train(config, setup, output=path, on_event=on_event)
    if not run.finished:
        return None
    if report:
        write_task_report(run.run)
    cost, seen = measure_cost(load(run.run.model).model), run.run.metrics()[-1]["step"] * config.batch_size
    stages = [stage for id in set(job.needs.values()) if (stage := folder.result_of(id)) is not None]
    remove_leftovers(path)
    return JobResult(
        id=job.id,
        levels=dict(job.levels),
        seed=job.seed,
        split=run.split,
        metrics={} if run.metrics is None else dict(run.metrics.scalars()),
        params=cost.params,
        inputs=seen,
        flops=2.0 * TRAINING_PASSES * cost.macs * seen,
        seconds=round(run.seconds, 3),
        wall_seconds=0.0,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu_seconds=round(run.cpu_seconds, 3),
        stage_flops=sum(stage.flops + stage.stage_flops for stage in stages),
        stage_cpu_seconds=round(sum(stage.cpu_seconds + stage.stage_cpu_seconds for stage in stages), 3),
    )
