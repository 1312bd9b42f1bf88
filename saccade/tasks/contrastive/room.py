"""The room of contrastive learning of images and texts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.data.augmentation import EvalTransform
from saccade.data.batching import BatchDataset
from saccade.data.check import DataReport, check_data
from saccade.data.config import DataConfig
from saccade.data.pairs import open_pairs
from saccade.data.samples import CaptionSource, DataSplits, Source
from saccade.engine.graph_end import GraphEnd
from saccade.engine.room import ModelCard, TaskRoom, command, refuse_fix, refuse_options, require_preprocessing
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.models.clip import CLIP
from saccade.tasks.contrastive.batches import CaptionDataset
from saccade.tasks.contrastive.graph import EmbeddingGraph
from saccade.tasks.contrastive.setup import make_setup
from saccade.tasks.contrastive.task import ContrastiveTask
from saccade.tasks.contrastive.texts import tokenizer_for


class ContrastiveRoom(TaskRoom):
    """Images and texts in one space."""

    name = "contrastive"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        return open_pairs(path, config, for_training=source is None)

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
        return check_data(open_pairs(path, config), mode=mode, on_image=on_input)

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return make_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> ContrastiveTask:
        require_preprocessing(source)
        refuse_options(self.name, options)
        return ContrastiveTask(source.model.config.objective)

    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        assert source.preprocessing is not None
        transform = EvalTransform(source.preprocessing)
        fixed = source.model.config.text.fixed_length
        return CaptionDataset(cast(CaptionSource, part), transform, tokenizer_for(source), fixed_length=fixed)

    def graph_end(self, source: LoadedModel, task: Task) -> GraphEnd:
        require_preprocessing(source)
        return EmbeddingGraph(tokenizer_for(source), cast(CLIP, source.model))

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="zero-shot-image-classification",
            description="A CLIP, a model of images and texts",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg")',
            limits="It compares images and texts similar to its training data; `saccade zeroshot PATH_OF_THIS_FOLDER "
            "IMAGE --labels cat,dog` classifies with it.",
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        return [
            *super().next_steps(run, config),
            command("saccade", "zeroshot", run, "IMAGE", "--labels", "cat,dog"),
            f'saccade search {run} IMAGES "some words"',
        ]


ROOM = ContrastiveRoom()
