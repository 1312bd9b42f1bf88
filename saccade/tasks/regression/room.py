"""The room of regression: a number for each image."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import BatchDataset
from saccade.data.config import DataConfig
from saccade.data.samples import DataSplits, Source
from saccade.engine.graph_end import GraphEnd
from saccade.engine.images import eval_images
from saccade.engine.room import ModelCard, TaskRoom, command, refuse_fix, refuse_options
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.errors import ConfigError
from saccade.tasks.regression.batches import ValueDataset, ValueScale
from saccade.tasks.regression.check import ValueReport, check_values
from saccade.tasks.regression.graph import RegressionGraph
from saccade.tasks.regression.setup import make_setup
from saccade.tasks.regression.sources import open_values
from saccade.tasks.regression.task import RegressionTask


class RegressionRoom(TaskRoom):
    """A number for each image."""

    name = "regression"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        return open_values(path, config, for_training=source is None)

    def check(
        self,
        path: str,
        config: DataConfig | None = None,
        *,
        mode: str = "full",
        fix: bool = False,
        on_input: Callable[[int, int], None] | None = None,
    ) -> ValueReport:
        refuse_fix(self.name, fix)
        return check_values(open_values(path, config), mode=mode, on_image=on_input)

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return make_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> RegressionTask:
        refuse_options(self.name, options)
        return RegressionTask(source.labels, scale_of(source))

    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        if source.preprocessing is None:
            raise ConfigError(f"this {source.architecture} does not record how images are prepared for it")
        return ValueDataset(eval_images(part, source.preprocessing), scale_of(source))

    def graph_end(self, source: LoadedModel, task: Task) -> GraphEnd:
        return RegressionGraph(cast(RegressionTask, task))

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="image-feature-extraction",
            description="A regression model that predicts a number for an image",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg").value',
            limits="It predicts a number for every image, even for images unlike its training images.",
            lists_classes=False,
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        return [*super().next_steps(run, config), command("saccade", "explain", run, "IMAGE", "-o", "attention.png")]


def scale_of(source: LoadedModel) -> ValueScale:
    """The scale of a model's predictions.

    Raises:
        ConfigError: the model directory does not record it.
    """
    if set(source.task_state) != {"mean", "std"}:
        raise ConfigError("this model does not record the mean and the standard deviation of its training values")
    return ValueScale(**source.task_state)


ROOM = RegressionRoom()
