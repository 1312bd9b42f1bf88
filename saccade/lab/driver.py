"""Run the jobs of a study: in this process, in several, or concurrently with other drivers of the same study.

Every process takes the next job that is neither done nor locked. There is no queue and no server: processes share only
locks and results on the disk, so any of them may be killed at any moment.
"""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from saccade.errors import SaccadeError
from saccade.lab.grid import Job
from saccade.lab.jobs import JobResult, StudyDirectory, run_job
from saccade.lab.study import Study
from saccade.training.events import Event

GLANCE = 0.3  # seconds after which a job that was locked is looked at again: `lab status` locks for an instant


@dataclass(frozen=True)
class JobEnded:
    """A job ended in this process."""

    job: Job
    result: JobResult | None  # None: it failed
    error: str = ""


Watcher = Callable[[JobEnded], None]


@dataclass(frozen=True)
class Outcome:
    """Result of a driver.

    Attributes:
        done: number of finished jobs of the study, by any process.
        failed: message of each job that failed in this process, by id.
        elsewhere: number of jobs running in other processes.
        stopped: whether a signal stopped it.
    """

    done: int
    failed: dict[str, str]
    elsewhere: int
    stopped: bool


def run_study(
    study: Study,
    path: Path,
    *,
    processes: int = 1,
    threads: int | None = None,
    on_job: Watcher = lambda ended: None,
    on_event: Callable[[Event], None] | None = None,
) -> Outcome:
    """Run every unfinished job.

    Args:
        study: its jobs.
        path: the study's folder, new or old.
        processes: number of processes that run jobs, including this one.
        threads: PyTorch threads of each process; the cores divided by the processes by default.
        on_job: called at the end of every job of this process.
        on_event: called with every event of this process's runs.

    Raises:
        ConfigError: the folder has something else.
    """
    folder = StudyDirectory.create(path, study)
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // processes))
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=work, args=(str(path), torch.get_num_threads(), os.getpid()))
        for _ in range(processes - 1)
    ]
    for worker in workers:
        worker.start()
    failed: dict[str, str] = {}
    stopped = take_jobs(folder, study, failed, on_job, on_event)
    for worker in workers:
        worker.join()
    if workers and not stopped:  # jobs of a worker that was killed
        stopped = take_jobs(folder, study, failed, on_job, on_event)
    done = sum(map(folder.done, study.runs))
    return Outcome(done, failed, sum(is_locked(folder, job) for job in study.runs if not folder.done(job)), stopped)


def work(path: str, threads: int, parent: int) -> None:
    """Main function of a worker process: runs jobs until there are none or the driver has ended."""
    torch.set_num_threads(threads)
    folder, study = StudyDirectory.existing(Path(path))
    take_jobs(folder, study, {}, lambda ended: None, None, parent)


def take_jobs(
    folder: StudyDirectory,
    study: Study,
    failed: dict[str, str],
    on_job: Watcher,
    on_event: Callable[[Event], None] | None,
    parent: int | None = None,
) -> bool:
    """Run jobs that are neither done nor locked until there are none; returns whether a signal stopped it.

    Args:
        folder: of the study.
        study: its jobs.
        failed: receives the message of each job that failed; it is not tried again here.
        on_job, on_event: as for :func:`run_study`.
        parent: the process without which this one ends after its job.
    """
    while True:
        took = False
        for job in study.runs:
            if parent is not None and os.getppid() != parent:
                return True
            if job.id in failed or folder.done(job):
                continue
            broken = [id for id in job.needs.values() if id in failed]
            if broken:
                failed[job.id] = f"the run {broken[0]}, whose model it starts from, failed"
                on_job(JobEnded(job, None, failed[job.id]))
                continue
            if not folder.ready(job):  # another process has the run that it starts from
                continue
            with folder.lock(job) as mine:
                if not mine or folder.done(job):  # done since it was looked at
                    continue
                took = True
                try:
                    result = run_job(folder, job, on_event, report=study.config.run_reports)
                except SaccadeError as error:
                    failed[job.id] = str(error)
                    on_job(JobEnded(job, None, str(error)))
                    continue
                if result is None:
                    return True
                on_job(JobEnded(job, result))
        if not took:
            time.sleep(GLANCE)
            remaining = [job for job in study.runs if job.id not in failed and not folder.done(job)]
            # A job that waits for its stage is taken when that is done, by this process or by another.
            if all(is_locked(folder, job) for job in remaining):
                return False


def is_locked(folder: StudyDirectory, job: Job) -> bool:
    """Whether another process is running a job."""
    with folder.lock(job) as mine:
        return not mine
