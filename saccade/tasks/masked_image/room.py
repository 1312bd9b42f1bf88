"""The room of masked image modelling."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import BatchDataset
from saccade.data.check import DataReport, check_data
from saccade.data.config import DataConfig
from saccade.data.image_folder import open_unlabelled
from saccade.data.samples import DataSplits, Source
from saccade.engine.images import eval_images
from saccade.engine.room import ModelCard, TaskRoom, command, refuse_fix, refuse_options
from saccade.engine.setup import TrainingSetup
from saccade.tasks.masked_image.setup import make_setup, make_task
from saccade.tasks.masked_image.task import MaskedImageTask


class MaskedImageRoom(TaskRoom):
    """Prediction of masked patches."""

    name = "masked_image"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        return open_unlabelled(path, config)

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
        return check_data(open_unlabelled(path, config), mode=mode, on_image=on_input)

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return make_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> MaskedImageTask:
        refuse_options(self.name, options)
        return make_task(source)

    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        assert source.preprocessing is not None
        return eval_images(part, source.preprocessing)

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="image-feature-extraction",
            description="An image encoder, pre-trained without labels by masking patches",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg")',
            limits="It only reconstructs masked patches. Fine-tune it for other tasks with "
            "`saccade train DATA --init PATH_OF_THIS_FOLDER`.",
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        return [
            command("saccade", "train", "DATA", "--init", run),
            command("saccade", "probe", run, config.data.path),
            command("saccade", "predict", run, "IMAGE", "--draw", "pictures"),
        ]


ROOM = MaskedImageRoom()
