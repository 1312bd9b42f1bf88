"""The room of image classification."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import BatchDataset
from saccade.data.check import DataReport, check_data
from saccade.data.config import DataConfig
from saccade.data.image_folder import open_data
from saccade.data.samples import DataSplits, Source
from saccade.engine.graph_end import GraphEnd
from saccade.engine.images import eval_images
from saccade.engine.room import ModelCard, TaskRoom, command, refuse_fix, refuse_options, require_preprocessing
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.tasks.classification.graph import ClassificationGraph, EncoderGraph
from saccade.tasks.classification.setup import make_setup
from saccade.tasks.classification.task import ClassificationTask


class ClassificationRoom(TaskRoom):
    """Image classification: one class per image."""

    name = "classification"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        return open_data(path, config, for_training=source is None)

    def check(
        self,
        path: str,
        config: DataConfig | None = None,
        *,
        mode: str = "full",
        fix: bool = False,
        on_input: Callable[[int, int], None] | None = None,
    ) -> DataReport:
        refuse_fix(self.name, fix)
        return check_data(open_data(path, config), mode=mode, on_image=on_input)

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return make_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> ClassificationTask:
        require_preprocessing(source)
        refuse_options(self.name, options, ("top",))
        return ClassificationTask(source.labels, **(options or {}))

    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        assert source.preprocessing is not None
        return eval_images(part, source.preprocessing)

    def graph_end(self, source: LoadedModel, task: Task) -> GraphEnd:
        return ClassificationGraph(cast(ClassificationTask, task)) if source.labels else EncoderGraph()

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="image-classification",
            description="An image classifier",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg")',
            limits="It predicts one of these classes for every image, even if the image shows none of them.",
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        return [*super().next_steps(run, config), command("saccade", "explain", run, "IMAGE", "-o", "attention.png")]


ROOM = ClassificationRoom()
