"""The contract of a task's room: everything that commands need of a task, so that none of them names it."""

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
    """What `saccade data check` prints."""

    @property
    def ok(self) -> bool:
        """Whether a run may start on this data."""
        ...

    def __str__(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class ModelCard:
    """How a model of this task is described to whoever finds its directory.

    Attributes:
        hub_task: the task's name on model hubs.
        description: what it is, "An image classifier".
        usage: an expression of Python that uses it; PATH_OF_THIS_FOLDER stands for its directory.
        limits: what it cannot do, in one sentence.
        lists_classes: whether the model's labels are classes.
    """

    hub_task: str
    description: str
    usage: str
    limits: str
    lists_classes: bool = True


class TaskRoom(ABC):
    """One task: its data, its model, its words."""

    name: ClassVar[str]  # as in saccade/tasks/table.py
    inputs: ClassVar[str] = "images"  # what a split holds, for people

    @abstractmethod
    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        """Open a data set.

        Args:
            path: of any layout of this task, or the name of a built-in data set.
            config: how it is cut into splits.
            source: the model that will read it, where a task reads images or texts depending on the model.
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
        """Look for what is wrong with a data set.

        Args:
            path: as for :meth:`open_data`.
            config: as for :meth:`open_data`; the defaults by default.
            mode: "full" opens every input, "sample" some, "auto" all of a small data set.
            fix: correct what can be corrected, in place; the original is kept.
            on_input: called with (inputs done, inputs in all).

        Raises:
            ConfigError: `fix` where there is nothing that could be corrected.
        """

    @abstractmethod
    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        """Data, model and task of a run.

        Args:
            config: a :class:`saccade.training.config.RunConfig`.
            device: where helpers of the task run, such as a teacher.

        Raises:
            DataError, ConfigError, CheckpointError: what does not fit, before anything is computed.
        """

    @abstractmethod
    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> Task:
        """The task of a loaded model.

        Args:
            source: the model.
            options: of its predictions, such as ``{"threshold": 0.3}``.

        Raises:
            ConfigError: an option that this task does not have.
        """

    @abstractmethod
    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        """A split as a model takes it in evaluation, with its targets."""

    @abstractmethod
    def card(self) -> ModelCard:
        """How a model of this task is described."""

    def graph_end(self, source: LoadedModel) -> GraphEnd:
        """The end of an exported graph of a model of this task.

        Raises:
            ConfigError: such a model is not exported.
        """
        raise ConfigError(f"models of the task {self.name} are not exported: see docs/export.md for those that are")

    def text_parts(self, source: LoadedModel) -> tuple[GraphPart, ...]:
        """The exported graphs of a model of this task that reads texts; the first is the file itself.

        Raises:
            ConfigError: such a model is not exported.
        """
        raise ConfigError(f"models of the task {self.name} are not exported: see docs/export.md for those that are")

    def next_steps(self, run: Path, config: Any) -> list[str]:
        """Commands that are useful after a run of this task, for people."""
        return [command("saccade", "evaluate", run, config.data.path)]


def command(*words: object) -> str:
    """A command for a shell: words with spaces are quoted."""
    return shlex.join(str(word) for word in words)


def require_preprocessing(source: LoadedModel) -> None:
    """Raise CheckpointError where a model does not record how images are prepared for it."""
    if source.preprocessing is None:
        raise CheckpointError(
            "this checkpoint does not record how images are prepared for it; load it with "
            "saccade.checkpoints.loading.load_model and give it tensors"
        )


def refuse_fix(name: str, fix: bool) -> None:
    """Raise ConfigError where a data set was to be corrected and the task can correct none."""
    if fix:
        raise ConfigError(f"--fix corrects boxes of detection data; the task {name} has nothing that it can correct")
