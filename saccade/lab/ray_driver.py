"""The jobs of a study on a Ray cluster: Ray's scheduling, Ray's retries.

A job is a Ray task that takes the results of the jobs whose models it starts from. A worker that dies takes its task
with it, and Ray runs it again: the job continues from its last checkpoint. The locks and results of the study's folder
hold here as well, so that other drivers may work on it at the same time; every node must see the folder.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from saccade.errors import SaccadeError
from saccade.inference.ray_cluster import start_ray
from saccade.lab.driver import JobEnded, Outcome, Watcher, is_locked
from saccade.lab.grid import Job
from saccade.lab.jobs import JobResult, StudyDirectory, run_job
from saccade.lab.study import Study

RETRIES = 5  # of a task whose worker died
PATIENCE = 60.0  # seconds that a task waits for a job that another process has, such as a worker of a killed driver
GLANCE = 0.5

Ended = tuple[str, JobResult | None, str]  # id of the job, its result, why it failed


def run_on_ray(
    study: Study,
    path: Path,
    *,
    address: str | None = None,
    threads: int = 1,
    gpus: float = 0.0,
    on_job: Watcher = lambda ended: None,
) -> Outcome:
    """Run every unfinished job as a task of a Ray cluster.

    Args:
        study: its jobs.
        path: the study's folder, which every node sees under this path.
        address: of a cluster: HOST:PORT, or auto for the one on this machine; a new local cluster by default.
        threads: cores of a job, which Ray counts.
        gpus: of a job; a fraction lets several jobs share one.
        on_job: called at the end of every job.

    Raises:
        ConfigError: Ray is missing, or there is no cluster at the address; the folder has something else.
    """
    path = path.resolve()
    folder = StudyDirectory.create(path, study)
    ray = start_ray(address)
    task = ray.remote(do_job).options(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)
    references: dict[str, Any] = {}
    failed: dict[str, str] = {}
    stopped = False
    try:
        for job in study.runs:
            if not folder.done(job):
                before = [references[id] for id in job.needs.values() if id in references]
                references[job.id] = task.remote(str(path), job.id, threads, *before)
        waiting, jobs = list(references.values()), {job.id: job for job in study.runs}
        while waiting:
            ready, waiting = ray.wait(waiting)
            for id, result, error in collected(ray, ready, references):
                if error:
                    failed[id] = error
                if error or result is not None:
                    on_job(JobEnded(jobs[id], result, error))
    except KeyboardInterrupt:
        stopped = True
    finally:
        ray.shutdown()
    done = sum(map(folder.done, study.runs))
    return Outcome(done, failed, sum(is_locked(folder, job) for job in study.runs if not folder.done(job)), stopped)


def collected(ray: Any, ready: list[Any], references: dict[str, Any]) -> list[Ended]:
    """Results of tasks; a task that Ray gave up is a failed job."""
    results: list[Ended] = []
    for reference in ready:
        id = next(id for id, other in references.items() if other == reference)
        try:
            results.append(ray.get(reference))
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines()
            results.append((id, None, f"Ray gave up after {RETRIES} retries: {lines[0] if lines else error}"))
    return results


def do_job(path: str, id: str, threads: int, *before: Ended) -> Ended:
    """A task: one job, after those that it starts from."""
    torch.set_num_threads(threads)
    folder, study = StudyDirectory.existing(Path(path))
    job = next(job for job in study.runs if job.id == id)
    broken = [other for other, _, error in before if error]
    if broken:
        return id, None, f"the run {broken[0]}, whose model it starts from, failed"
    return with_lock(folder, job, lambda: run_job(folder, job, report=study.config.run_reports))


def with_lock(folder: StudyDirectory, job: Job, run: Callable[[], JobResult | None]) -> Ended:
    """Run a job as soon as no other process has locked it, up to a time limit."""
    until = time.monotonic() + PATIENCE
    while True:
        with folder.lock(job) as mine:
            if folder.done(job):
                return job.id, folder.result(job), ""
            if mine and folder.ready(job):
                try:
                    return job.id, run(), ""
                except SaccadeError as error:
                    return job.id, None, str(error)
        if time.monotonic() > until:
            return job.id, None, ""  # elsewhere
        time.sleep(GLANCE)
