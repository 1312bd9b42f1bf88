"""The room of multi-label classification: any number of labels for an image."""

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
from saccade.engine.room import ModelCard, TaskRoom, refuse_fix, refuse_options, require_preprocessing
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.tasks.multilabel.batches import MultiLabelDataset
from saccade.tasks.multilabel.check import MultiLabelReport, check_multilabel
from saccade.tasks.multilabel.graph import MultiLabelGraph
from saccade.tasks.multilabel.setup import make_setup
from saccade.tasks.multilabel.sources import open_multilabel
from saccade.tasks.multilabel.task import MultiLabelTask, thresholds_of


class MultiLabelRoom(TaskRoom):
    """Any number of labels for an image."""

    name = "multilabel"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        return open_multilabel(path, config, None if source is None else source.labels)

    def check(
        self,
        path: str,
        config: DataConfig | None = None,
        *,
        mode: str = "full",
        fix: bool = False,
        on_input: Callable[[int, int], None] | None = None,
    ) -> MultiLabelReport:
        refuse_fix(self.name, fix)
        return check_multilabel(open_multilabel(path, config), mode=mode, on_image=on_input)

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return make_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> MultiLabelTask:
        require_preprocessing(source)
        refuse_options(self.name, options, ("top", "threshold"))
        values = dict(options or {})
        thresholds = values.pop("threshold", None)
        if thresholds is None:
            thresholds = thresholds_of(source.task_state, len(source.labels))
        return MultiLabelTask(source.labels, thresholds=thresholds, **values)

    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        require_preprocessing(source)
        assert source.preprocessing is not None
        return MultiLabelDataset(eval_images(part, source.preprocessing))

    def graph_end(self, source: LoadedModel, task: Task) -> GraphEnd:
        return MultiLabelGraph(cast(MultiLabelTask, task))

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="image-classification",
            description="A multi-label image classifier",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg").labels',
            limits="Each label has its own score; its threshold is the one with the best F1 on the validation images.",
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        return [*super().next_steps(run, config), f"saccade predict {run} IMAGE"]


ROOM = MultiLabelRoom()
