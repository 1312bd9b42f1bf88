"""What a run trains: the data as the model takes it, the model at step 0, the task. Made by a task's room, or by hand
for a model and a data set of one's own."""

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
    """Makes the model's input of a training batch, on the device: augmentation of whole batches, masks."""

    def __call__(self, batch: Batch, *, step: int, rows: slice, batch_size: int) -> Batch:
        """Transform this process's part of a batch.

        Args:
            batch: inputs of some rows of the batch of `step`.
            step: of the run; with the rows, all that random numbers may depend on, so that they are the same however
                many parts and processes there are.
            rows: which rows of the whole batch these are.
            batch_size: rows of the whole batch, over all processes.
        """
        ...

    def plain(self, batch: Batch) -> Batch:
        """The batch without augmentation, as evaluation sees it."""
        ...


class Unchanged:
    """No transform: inputs were augmented one by one, since boxes and maps must move with them."""

    def __call__(self, batch: Batch, *, step: int, rows: slice, batch_size: int) -> Batch:
        return batch

    def plain(self, batch: Batch) -> Batch:
        return batch


def own_model(model: nn.Module, labels: Sequence[str] = ()) -> LoadedModel:
    """A model of one's own as a run starts with it: any module; what it returns is up to the task.

    Its run directory has the weights (``model/model.safetensors``); the code stays with whoever wrote it.
    """
    return LoadedModel(model, OWN, tuple(labels), None, task="own")  # type: ignore[arg-type]


@dataclass(frozen=True)
class TrainingSetup:
    """A model, its data and its task, ready to train.

    Attributes:
        start: the model at step 0, with labels and preprocessing.
        task: loss and metrics.
        train, val, test: the splits as the model takes them; without a `val` the last weights are the result.
        transform: of whole training batches.
        splits: the data as it was opened; None for a data set of one's own, which is then not checked before the run.
        calibrate: outputs of the trained model on `val` -> the task with what it derives from them, such as thresholds,
            and the values of it that the model directory keeps; None for most tasks.
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
        """Changes when a file, a label or the split changes; "" where nobody knows."""
        return "" if self.splits is None else self.splits.fingerprint
