"""From a config and a setup to what the loop needs: the order of the batches, the number of steps, the precision."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from saccade.data.batching import (
    BalancedClasses,
    ResidentBatches,
    TrainBatches,
    TrainOrder,
    default_workers,
    fits_device,
)
from saccade.data.own import OwnDataset
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.data.splits import nested_subset
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.models.model import Model
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.optimizers import freeze_untrained


class Batches(Protocol):
    """The batches of a run, and the broken images that were left out."""

    skipped: dict[str, None]

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class TrainingPlan:
    """A run that can start.

    Attributes:
        setup: data, model, task.
        order: which inputs are in which step.
        total_steps: of the run.
        workers: loader processes.
        precision: "float32" or "bfloat16".
    """

    setup: TrainingSetup
    order: TrainOrder
    total_steps: int
    workers: int
    precision: str

    @property
    def model(self) -> Model:
        return self.setup.start.model

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How images are prepared; None for texts."""
        return self.setup.start.preprocessing

    def batches(self, device: torch.device, start: int, stop: int) -> Batches:
        """The batches of some steps; from pixels that stay on the device, where nothing is done to them before."""
        train, preprocessing = self.setup.train, self.preprocessing
        if preprocessing is not None and fits_device(train, (preprocessing.channels, *preprocessing.size)):
            return ResidentBatches(train, self.order, device, start=start, stop=stop, workers=self.workers)
        return TrainBatches(train, self.order, start=start, stop=stop, workers=self.workers)

    def autocast(self, device: torch.device) -> AbstractContextManager:
        if self.precision == "bfloat16":
            return torch.autocast(device.type, torch.bfloat16)
        return nullcontext()


def plan_run(config: RunConfig, setup: TrainingSetup, processes: Processes) -> TrainingPlan:
    """Check that the batch can be cut as the config says, and count the steps.

    Raises:
        ConfigError: what does not fit, before anything is computed.
    """
    freeze_untrained(setup.start.model, config.optimizer)
    subset = train_subset(config, setup)
    order = TrainOrder(
        len(setup.train.source if subset is None else subset), config.batch_size, config.seed,
        config.augmentation.repeats, processes.rank, processes.world, balanced_classes(config, setup, subset), subset,
    )  # fmt: skip
    per_process = config.batch_size // processes.world
    mixes = config.augmentation.mixup or config.augmentation.cutmix
    if per_process % config.accumulation:
        raise ConfigError(
            f"{per_process} inputs a process cannot be cut into accumulation={config.accumulation} equal parts"
        )
    if mixes and processes.world > 1 and per_process % 2:
        raise ConfigError(f"mixup and cutmix mix neighbours: {per_process} images a process must be an even number")
    on_gpu = processes.device.type == "cuda"
    return TrainingPlan(
        setup=setup,
        order=order,
        total_steps=config.schedule.steps or config.schedule.epochs * order.steps_per_epoch,
        workers=_workers(setup, processes) if config.data.workers is None else config.data.workers,
        precision=("bfloat16" if on_gpu else "float32") if config.precision == "auto" else config.precision,
    )


def train_subset(config: RunConfig, setup: TrainingSetup) -> tuple[int, ...] | None:
    """The indices of the training inputs that are used; None for all.

    Raises:
        ConfigError: `data.train_size` is not between 1 and the number of training inputs.
    """
    size, count = config.data.train_size, len(setup.train.source)
    if size is None:
        return None
    if not 1 <= size <= count:
        raise ConfigError(f"data.train_size must be from 1 to the {count} training inputs, not {size}")
    labels = np.asarray(getattr(setup.train.source, "labels", ()))
    return nested_subset(labels if len(labels) == count else np.zeros(count), size, config.data.split_seed)


def balanced_classes(
    config: RunConfig, setup: TrainingSetup, subset: tuple[int, ...] | None = None
) -> BalancedClasses | None:
    """The classes of the training inputs where they are sampled equally often; None where each input is, once.

    Raises:
        ConfigError: balanced sampling of inputs that have no classes.
    """
    if config.data.sampling == "shuffled":
        return None
    labels = np.asarray(getattr(setup.train.source, "labels", ()))
    if len(labels) != len(setup.train.source) or len(np.unique(labels)) < 2:
        raise ConfigError(
            f"data.sampling=balanced draws every class equally often, and the data of {config.task} has not one class "
            "for each input: use data.sampling=shuffled"
        )
    chosen = labels if subset is None else labels[list(subset)]
    return BalancedClasses(torch.from_numpy(chosen.astype(np.int64)))


def _workers(setup: TrainingSetup, processes: Processes) -> int:
    """The default number; 0 for data of one's own in several processes, where each worker imports the user's script."""
    return 0 if processes.world > 1 and isinstance(setup.train, OwnDataset) else default_workers(setup.train)
