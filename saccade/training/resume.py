"""Checks of a resumed run: config, data and machine compared with those of the run that it continues."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from saccade.data.samples import same_data
from saccade.errors import ConfigError, DataError, SaccadeError
from saccade.json_io import parse_json
from saccade.nn.matmul_precision import choose_matmul_precision
from saccade.training.config import CHANGEABLE, LENGTH, RunConfig, ScheduleConfig, differences, from_yaml
from saccade.training.distributed import Processes
from saccade.training.events import Event, Note
from saccade.training.extension import resumed_schedule
from saccade.training.plan import TrainingPlan
from saccade.training.run_directory import CONFIG, ENVIRONMENT, METRICS, Checkpoint, RunDirectory, environment


@contextmanager
def locked(run: RunDirectory, processes: Processes) -> Iterator[None]:
    """Lock a run's folder for the processes of one start.

    Raises:
        TrainingError: another process is training this run.
    """
    lock: int | SaccadeError | None = None
    if processes.is_first:
        try:
            lock = run.lock()
        except SaccadeError as error:
            lock = error
    error = processes.broadcast_from_rank0(lock if isinstance(lock, SaccadeError) else None)
    if error is not None:
        raise error
    try:
        yield
    finally:
        if isinstance(lock, int):
            os.close(lock)


def resumed_config(
    run: RunDirectory,
    config: RunConfig,
    plan: TrainingPlan,
    processes: Processes,
    checkpoint: Checkpoint | None,
    notify: Callable[[Event], None],
) -> RunConfig:
    """The config of a resumed run, after comparing the run's files with those of the checkpoint.

    Every checkpoint has a checksummed copy of the run's config, environment and metrics. A config that has been edited
    since is an error; the other two are restored with a warning. Another length starts a new schedule.

    Raises:
        ConfigError: the config has been edited, or more steps are done than the new length has.
    """
    stored: ScheduleConfig | SaccadeError | None = None
    if processes.is_first:
        try:
            stored = run.config().schedule if checkpoint is None else _restore(run, checkpoint, notify)
        except SaccadeError as error:
            stored = error
    stored = processes.broadcast_from_rank0(stored)
    if isinstance(stored, SaccadeError):
        raise stored
    assert stored is not None
    step = 0 if checkpoint is None else checkpoint.progress.step
    schedule, text = resumed_schedule(stored, config, step, plan.order.steps_per_epoch)
    config = replace(config, schedule=schedule)
    if text:
        notify(Note(text))
    if processes.is_first and config != run.config():
        run.write_config(config)
    return config


def _restore(run: RunDirectory, checkpoint: Checkpoint, notify: Callable[[Event], None]) -> ScheduleConfig:
    """Compare the files of a run with their copies in a checkpoint; returns the stored schedule."""
    files = checkpoint.run_files
    schedule = run.config().schedule
    if CONFIG in files:
        stored = from_yaml(files[CONFIG], checkpoint.path / CONFIG)
        free = (*CHANGEABLE, *LENGTH, "schedule.earlier")
        changed = [text for text in differences(stored, run.config()) if text.partition(":")[0] not in free]
        if changed:
            raise ConfigError(
                f"{run.path / CONFIG} has been edited since {checkpoint.path.name} was written ({', '.join(changed)}): "
                f"copy it back from {checkpoint.path / CONFIG}, or start a new run with it: saccade train --config"
            )
        schedule = stored.schedule
    if ENVIRONMENT in files and parse_json(files[ENVIRONMENT], ENVIRONMENT) != run.environment():
        run.write_json(ENVIRONMENT, parse_json(files[ENVIRONMENT], ENVIRONMENT))
        notify(Note(f"{run.path / ENVIRONMENT} had changed: restored from {checkpoint.path.name}", warning=True))
    step = checkpoint.progress.step
    rows = run.metrics(step)
    if METRICS in files:
        stored_rows = [parse_json(line, METRICS) for line in files[METRICS].split("\n") if line]
        if rows != stored_rows:
            text = f"{run.path / METRICS} had changed: restored from {checkpoint.path.name}"
            notify(Note(text, warning=True))
        rows = stored_rows
    run.write_metrics(rows)
    return schedule


def choose_environment(
    run: RunDirectory,
    config: RunConfig,
    plan: TrainingPlan,
    processes: Processes,
    notify: Callable[[Event], None],
    *,
    resume: bool,
) -> Any:
    """Choose the precision of matrix products, once per run, and store its machine.

    Returns:
        the precision, for :func:`saccade.nn.matmul_precision.matmul_precision`.

    Raises:
        DataError: a resumed run was started with other data.
    """
    stored = run.environment() if resume else {}
    fingerprint = plan.setup.fingerprint
    if not same_data(stored.get("data_fingerprint", fingerprint), fingerprint):
        raise DataError(
            f"{config.data.path} is not the data that {run.path} was started with (a file, a label or the split has "
            "changed): start a new run"
        )
    precision = stored.get("matmul_precision", stored.get("products"))  # "products" in runs of earlier versions
    if precision is None:
        micro_batch = config.batch_size // processes.world // config.accumulation
        measured = choose_matmul_precision(processes.device, plan.model.train(), batch_size=micro_batch)
        choice = processes.broadcast_from_rank0(measured)
        notify(Note(choice.reason, detail=True))
        if processes.is_first:
            content = {**environment(), "device": str(processes.device), "processes": processes.world}
            content["data_fingerprint"] = fingerprint
            content |= {"matmul_precision": choice.precision, "matmul_precision_reason": choice.reason}
            run.write_json(ENVIRONMENT, content)
        return choice.precision
    now = {
        "threads": torch.get_num_threads(),
        "processes": processes.world,
        "device": str(processes.device),
        "torch": torch.__version__,
    }
    for name, value in now.items():
        if stored.get(name) not in (None, value):
            what = {"device": "on", "torch": "with PyTorch"}.get(name, "with")
            unit = f" {name}" if name in ("threads", "processes") else ""
            notify(
                Note(
                    f"started {what} {stored[name]}{unit}, now {what} {value}{unit}: the bits of the weights will not "
                    "be those of an uninterrupted run",
                    warning=True,
                )
            )
    return precision
