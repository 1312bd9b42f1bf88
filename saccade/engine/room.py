"""The contract of a task's room: everything that commands need from a task, so that they depend on no task by name."""

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import BatchDataset
from saccade.data.config import DataConfig
from saccade.data.samples import DataSplits, Source
from saccade.engine.exported import refuse_options as refuse_options
from saccade.engine.graph_end import GraphEnd, GraphPart
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.errors import CheckpointError, ConfigError


class CheckReport(Protocol):
    """Result of `saccade data check`."""

    @property
    def ok(self) -> bool:
        """Whether a run may start on this data."""
        ...

    def __str__(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class ModelCard:
    """Description of a model of this task for the README of its directory.

    Attributes:
        hub_task: the task's name on model hubs.
        description: kind of model, such as "An image classifier".
        usage: a Python expression that uses it; PATH_OF_THIS_FOLDER stands for its directory.
        limits: its limitations, in one sentence.
        lists_classes: whether the model's labels are classes.
    """

    hub_task: str
    description: str
    usage: str
    limits: str
    lists_classes: bool = True


class TaskRoom(ABC):
    """One task: its data, its model, its report."""

    name: ClassVar[str]  # as in saccade/tasks/table.py
    inputs: ClassVar[str] = "images"  # what a split holds, for people

    @abstractmethod
    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        """Open a data set.

        Args:
            path: data in any layout of this task, or the name of a built-in data set.
            config: how it is divided into splits.
            source: the model, for a task that reads images or texts depending on the model.
        """

    @abstractmethod
    def check(
        self,
        path: str,
        config: DataConfig | None = None,
        *,
        mode: str = "full",
        fix: bool = False,
        on_input: Callable[[int, int], None] | None = None,
    ) -> CheckReport:
        """Check a data set for errors.

        Args:
            path: as for :meth:`open_data`.
            config: as for :meth:`open_data`; the defaults by default.
            mode: "full" opens every input, "sample" some, "auto" all of a small data set.
            fix: correct errors in place where possible; the original is kept.
            on_input: called with (inputs done, total number of inputs).

        Raises:
            ConfigError: `fix` is not supported for this data.
        """

    @abstractmethod
    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        """Data, model and task of a run.

        Args:
            config: a :class:`saccade.training.config.RunConfig`.
            device: where helpers of the task run, such as a teacher.

        Raises:
            DataError, ConfigError, CheckpointError: data, config or checkpoint do not fit; raised before anything is
                computed.
        """

    @abstractmethod
    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> Task:
        """The task of a loaded model.

        Args:
            source: the model.
            options: of its predictions, such as ``{"threshold": 0.3}``.

        Raises:
            ConfigError: the task has no such option.
        """

    @abstractmethod
    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        """A split as model inputs for evaluation, with targets."""

    @abstractmethod
    def card(self) -> ModelCard:
        """Description of a model of this task."""

    def graph_end(self, source: LoadedModel, task: Task) -> GraphEnd:
        """The end of an exported graph of a model of this task.

        Args:
            source: the model; in evaluation without weights.
            task: of :meth:`task`, with the options of its predictions.

        Raises:
            ConfigError: this kind of model cannot be exported.
        """
        raise ConfigError(f"models of the task {self.name} cannot be exported: docs/export.md lists those that can")

    def text_parts(self, source: LoadedModel, task: Task) -> tuple[GraphPart, ...]:
        """The exported graphs of a model of this task that reads texts; the first is the file itself. Arguments as for
        :meth:`graph_end`.

        Raises:
            ConfigError: this kind of model cannot be exported.
        """
        raise ConfigError(f"models of the task {self.name} cannot be exported: docs/export.md lists those that can")

    def next_steps(self, run: Path, config: Any) -> list[str]:
        """Commands that are useful after a run of this task."""
        return [command("saccade", "evaluate", run, config.data.path)]


def command(*words: object) -> str:
    """A shell command; words with spaces are quoted."""
    return shlex.join(str(word) for word in words)


def require_preprocessing(source: LoadedModel) -> None:
    """Raise CheckpointError if a model does not record its preprocessing."""
    if source.preprocessing is None:
        raise CheckpointError(
            "this checkpoint does not record how images are prepared for it; load it with "
            "saccade.checkpoints.loading.load_model and give it tensors"
        )


def refuse_fix(name: str, fix: bool) -> None:
    """Raise ConfigError if `fix` is requested and the task does not support it."""
    if fix:
        raise ConfigError(f"--fix corrects boxes of detection data; the task {name} does not support it")
