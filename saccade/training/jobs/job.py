"""What every kind of run brings to the loop: images, a model, a task."""

from dataclasses import dataclass
from typing import Protocol

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import BatchDataset
from saccade.data.samples import Batch, DataSplits
from saccade.errors import ConfigError
from saccade.tasks.task import Task
from saccade.training.config import RunConfig


class Augmentation(Protocol):
    """Makes the model's input of a batch on the device."""

    def __call__(self, batch: Batch, *, step: int, rows: slice, batch_size: int) -> Batch: ...

    def plain(self, batch: Batch) -> Batch:
        """The batch as evaluation sees it."""
        ...


def no_mixing(config: RunConfig) -> None:
    """Raise ConfigError where images would be mixed: no text belongs to such a one."""
    if config.augmentation.where == "batch" or config.augmentation.mixup or config.augmentation.cutmix:
        raise ConfigError("a mixed image belongs to no text: set mixup and cutmix to 0 and augmentation.where to image")


class AsItIs:
    """Nothing: everything was done to the single images, since boxes and maps must move with them."""

    def __call__(self, batch: Batch, *, step: int, rows: slice, batch_size: int) -> Batch:
        return batch

    def plain(self, batch: Batch) -> Batch:
        return batch


@dataclass(frozen=True)
class Job:
    """A kind of run, ready to start.

    Attributes:
        splits: the images as they lie.
        start: the model at step 0, with labels and preprocessing.
        task: loss and metrics.
        train, val, test: the splits as the model takes them.
        augmentation: of whole batches of `train`.
    """

    splits: DataSplits
    start: LoadedModel
    task: Task
    train: BatchDataset
    val: BatchDataset | None
    test: BatchDataset | None
    augmentation: Augmentation
