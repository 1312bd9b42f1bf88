"""The setup of a run: the data as model inputs, the model at step 0, and the task. Made by a task's room, or by hand
for your own model and data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from saccade.checkpoints.directory import OWN, LoadedModel
from saccade.data.batching import BatchDataset
from saccade.data.samples import Batch, DataSplits
from saccade.engine.collect import Collected
from saccade.engine.task import Task

Calibrate = Callable[[Collected], tuple[Task, dict[str, Any]]]


class BatchTransform(Protocol):
    """Makes the model's input from a training batch, on the device: augmentation of whole batches, masks."""

    def __call__(self, batch: Batch, *, step: int, rows: slice, batch_size: int) -> Batch:
        """Transform this process's part of a batch.

        Args:
            batch: some rows of the batch of `step`.
            step: step of the run. Random numbers may depend only on the step and the rows, so that they are the same
                for any number of parts and processes.
            rows: indices of these rows in the whole batch.
            batch_size: number of rows of the whole batch, over all processes.
        """
        ...

    def plain(self, batch: Batch) -> Batch:
        """The batch without augmentation, as in evaluation."""
        ...


class Unchanged:
    """No transform: inputs have been augmented individually, since boxes and maps must be transformed with them."""

    def __call__(self, batch: Batch, *, step: int, rows: slice, batch_size: int) -> Batch:
        return batch

    def plain(self, batch: Batch) -> Batch:
        return batch


def own_model(model: nn.Module, labels: Sequence[str] = ()) -> LoadedModel:
    """Your own model at the start of a run: any module; its output is defined by the task.

    Its run directory has the weights (``model/model.safetensors``); its code is not stored.
    """
    return LoadedModel(model, OWN, tuple(labels), None, task="own")  # type: ignore[arg-type]


@dataclass(frozen=True)
class TrainingSetup:
    """A model, its data and its task, ready to train.

    Attributes:
        start: the model at step 0, with labels and preprocessing.
        task: loss and metrics.
        train, val, test: the splits as model inputs; without `val` the last weights are the result.
        transform: transform of whole training batches.
        splits: the data as opened; None for your own data set, which is not checked before the run.
        calibrate: outputs of the trained model on `val` -> the task with values derived from them, such as thresholds,
            and these values for the model directory; None for most tasks.
    """

    start: LoadedModel
    task: Task
    train: BatchDataset
    val: BatchDataset | None = None
    test: BatchDataset | None = None
    transform: BatchTransform = field(default_factory=Unchanged)
    splits: DataSplits | None = None
    calibrate: Calibrate | None = None

    @property
    def data_name(self) -> str:
        return "own data" if self.splits is None else self.splits.name

    @property
    def fingerprint(self) -> str:
        """Fingerprint that changes with any file, label or split; "" if unknown."""
        return "" if self.splits is None else self.splits.fingerprint
