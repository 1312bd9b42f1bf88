"""The room of semantic segmentation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import BatchDataset
from saccade.data.config import DataConfig
from saccade.data.samples import DataSplits, Source
from saccade.engine.graph_end import GraphEnd
from saccade.engine.room import ModelCard, TaskRoom, command, refuse_fix, refuse_options
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.errors import ConfigError
from saccade.tasks.dense.check import MapReport, check_maps
from saccade.tasks.dense.graph import SegmentationGraph
from saccade.tasks.dense.segmentation import SegmentationTask
from saccade.tasks.dense.setup import eval_maps, segmentation_setup
from saccade.tasks.dense.sources import open_dense, renumbered


class SegmentationRoom(TaskRoom):
    """Semantic segmentation: the class of every pixel."""

    name = "segmentation"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        """Masks are in the classes of `source`, matched by their names.

        Raises:
            UnmatchedClassesError: the data has a class that the model does not have.
        """
        splits = open_dense(path, "masks", config)
        return splits if source is None else renumbered(splits, source.labels, path)

    def check(
        self,
        path: str,
        config: DataConfig | None = None,
        *,
        mode: str = "full",
        fix: bool = False,
        on_input: Callable[[int, int], None] | None = None,
    ) -> MapReport:
        refuse_fix(self.name, fix)
        return check_maps(open_dense(path, "masks", config), "masks", mode=mode, on_image=on_input)

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return segmentation_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> SegmentationTask:
        refuse_options(self.name, options)
        return SegmentationTask(source.labels)

    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        if source.preprocessing is None:
            raise ConfigError(f"this {source.architecture} does not record how images are prepared for it")
        return eval_maps(part, source.preprocessing)

    def graph_end(self, source: LoadedModel, task: Task) -> GraphEnd:
        return SegmentationGraph(cast(SegmentationTask, task))

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="image-segmentation",
            description="A semantic segmentation model",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg").classes',
            limits="It assigns one of these classes to every pixel, even where the image shows none of them.",
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        return [*super().next_steps(run, config), command("saccade", "predict", run, "IMAGE", "--draw", "FOLDER")]


ROOM = SegmentationRoom()
