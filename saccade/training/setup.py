"""From a config to what the loop needs: the job, the order of the images. The same in every process."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import torch

from saccade.data.batching import ResidentBatches, TrainBatches, TrainOrder, default_workers, fits_device
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch, DataSplits
from saccade.errors import ConfigError
from saccade.models.model import Model
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.jobs.job import Job
from saccade.training.optimizers import freeze_untrained

# task of the config -> module with `prepare(config, processes)`
JOBS = {
    "classify": "saccade.training.jobs.classify",
    "pretrain": "saccade.training.jobs.pretrain",
    "detect": "saccade.training.jobs.detect",
    "depth": "saccade.training.jobs.dense",
    "segment": "saccade.training.jobs.dense",
    "contrast": "saccade.training.jobs.contrast",
    "translate": "saccade.training.jobs.translate",
    "words": "saccade.training.jobs.words",
}


def open_splits(config: RunConfig) -> DataSplits:
    """The images of a run, as it cut them."""
    return import_module(JOBS[config.task]).open_splits(config)


class Batches(Protocol):
    """The batches of a run, and the broken images that were left out."""

    skipped: dict[str, None]

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Setup:
    """A run that could start.

    Attributes:
        job: images, model, task.
        order: which images are in which step.
        total_steps: of the run.
        workers: loader processes.
        precision: "float32" or "bfloat16".
    """

    job: Job
    order: TrainOrder
    total_steps: int
    workers: int
    precision: str

    @property
    def model(self) -> Model:
        return self.job.start.model

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How images are prepared; None for texts."""
        return self.job.start.preprocessing

    def batches(self, device: torch.device, start: int, stop: int) -> Batches:
        """The batches of some steps; from pixels that stay on the device, where nothing is done to them before."""
        told = self.preprocessing
        if told is not None and fits_device(self.job.train, (told.channels, *told.size)):
            return ResidentBatches(self.job.train, self.order, device, start=start, stop=stop, workers=self.workers)
        return TrainBatches(self.job.train, self.order, start=start, stop=stop, workers=self.workers)

    def autocast(self, device: torch.device) -> AbstractContextManager:
        if self.precision == "bfloat16":
            return torch.autocast(device.type, torch.bfloat16)
        return nullcontext()


def prepare(config: RunConfig, processes: Processes) -> Setup:
    """Open the data and build the model.

    Raises:
        DataError, ConfigError, CheckpointError: what does not fit, before anything is computed.
    """
    job: Job = import_module(JOBS[config.task]).prepare(config, processes)
    freeze_untrained(job.start.model, config.optimizer)
    order = TrainOrder(
        len(job.splits.train), config.batch_size, config.seed, config.augmentation.repeats,
        processes.rank, processes.world,
    )  # fmt: skip
    share = config.batch_size // processes.world
    mixes = config.augmentation.mixup or config.augmentation.cutmix
    if share % config.accumulation:
        raise ConfigError(f"{share} images a process cannot be cut into accumulation={config.accumulation} equal parts")
    if mixes and processes.world > 1 and share % 2:
        raise ConfigError(f"mixup and cutmix mix neighbours: {share} images a process must be an even number")
    on_gpu = processes.device.type == "cuda"
    return Setup(
        job=job,
        order=order,
        total_steps=config.schedule.steps or config.schedule.epochs * order.steps_per_epoch,
        workers=default_workers(job.train) if config.data.workers is None else config.data.workers,
        precision=("bfloat16" if on_gpu else "float32") if config.precision == "auto" else config.precision,
    )
