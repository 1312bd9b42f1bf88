"""The plan of a run from its config and setup: the order of the batches, the number of steps, the precision."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

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
from saccade.models.recomputation import recomputed_parts
from saccade.training.compilation import require_compiler
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.optimizers import freeze_untrained

NEGLIGIBLE = 0.02  # fraction of a step that loading may take in the process that trains
SPARE = 1.25  # loaders are that much faster than the steps


class Batches(Protocol):
    """The batches of a run, and the broken images that were left out."""

    skipped: dict[str, None]

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class TrainingPlan:
    """A checked run, ready to start.

    Attributes:
        setup: data, model, task.
        order: the inputs of each step.
        total_steps: number of steps of the run.
        workers: loader processes.
        precision: "float32" or "bfloat16".
        recomputed: parts of the model whose activations are recomputed in the backward pass.
    """

    setup: TrainingSetup
    order: TrainOrder
    total_steps: int
    workers: int
    precision: str
    recomputed: tuple[nn.Module, ...] = ()

    @property
    def model(self) -> Model:
        return self.setup.start.model

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The preprocessing of images; None for texts."""
        return self.setup.start.preprocessing

    @property
    def is_resident(self) -> bool:
        """Whether the pixels of the training split are kept on the device, since the loader does not transform them."""
        preprocessing = self.preprocessing
        if preprocessing is None:
            return False
        return fits_device(self.setup.train, (preprocessing.channels, *preprocessing.size))

    def batches(self, device: torch.device, start: int, stop: int) -> Batches:
        """The batches of some steps."""
        train = self.setup.train
        if self.is_resident:
            return ResidentBatches(train, self.order, device, start=start, stop=stop, workers=self.workers)
        return TrainBatches(train, self.order, start=start, stop=stop, workers=self.workers)

    def autocast(self, device: torch.device) -> AbstractContextManager:
        if self.precision == "bfloat16":
            return torch.autocast(device.type, torch.bfloat16)
        return nullcontext()


def plan_run(config: RunConfig, setup: TrainingSetup, processes: Processes) -> TrainingPlan:
    """Check that the batch can be divided as configured, and count the steps.

    Raises:
        ConfigError: options do not fit each other; raised before anything is computed.
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
            f"{per_process} inputs per process cannot be divided into accumulation={config.accumulation} equal parts"
        )
    if mixes and processes.world > 1 and per_process % 2:
        raise ConfigError(f"mixup and cutmix mix neighbours: {per_process} images per process must be an even number")
    if config.compile and (config.shard or config.activation_checkpointing):
        other = "shard" if config.shard else "activation_checkpointing"
        raise ConfigError(f"compile and {other} cannot be combined: leave one of them off")
    if config.compile:
        require_compiler()
    on_gpu = processes.device.type == "cuda"
    return TrainingPlan(
        setup=setup,
        order=order,
        total_steps=config.schedule.steps or config.schedule.epochs * order.steps_per_epoch,
        workers=_workers(setup, processes) if config.data.workers is None else config.data.workers,
        precision=("bfloat16" if on_gpu else "float32") if config.precision == "auto" else config.precision,
        recomputed=tuple(recomputed_parts(setup.start.model)) if config.activation_checkpointing else (),
    )


def workers_for(load: float, step: float, most: int) -> int:
    """The number of processes that load inputs as fast as training consumes them, with a margin of a quarter.

    Args:
        load: seconds to load an input.
        step: seconds of a step per input.
        most: maximum number of processes.

    Returns:
        0 if loading takes less than a fiftieth of the time.
    """
    return 0 if load < NEGLIGIBLE * step else min(math.ceil(SPARE * load / step), most)


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
    """The classes of the training inputs if all classes are sampled equally often; None if every input is sampled once.

    Raises:
        ConfigError: balanced sampling needs inputs with classes.
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
    """The default number; 0 for your own data in several processes, since each worker would import the user's
    script."""
    return 0 if processes.world > 1 and isinstance(setup.train, OwnDataset) else default_workers(setup.train)
