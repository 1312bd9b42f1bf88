"""The room of depth estimation."""

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
from saccade.tasks.dense.config import DepthConfig
from saccade.tasks.dense.depth import DepthTask
from saccade.tasks.dense.graph import DepthGraph
from saccade.tasks.dense.setup import depth_setup, eval_maps
from saccade.tasks.dense.sources import open_dense

INVERSE: Mapping[str, Any] = {"loss": "ssi"}  # published files predict the inverse of depth up to scale and shift


class DepthRoom(TaskRoom):
    """Depth estimation: the distance of every pixel."""

    name = "depth"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        return open_dense(path, "depth", config)

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
        return check_maps(open_dense(path, "depth", config), "depth", mode=mode, on_image=on_input)

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return depth_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> DepthTask:
        refuse_options(self.name, options, ("max_depth",))
        stored = source.provenance.get("options") or source.provenance.get("depth")  # runs before 0.2 wrote "depth"
        return DepthTask(DepthConfig(**{**(stored or source.task_state or INVERSE), **(options or {})}))

    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        if source.preprocessing is None:
            raise ConfigError(f"this {source.architecture} does not record how images are prepared for it")
        return eval_maps(part, source.preprocessing)

    def graph_end(self, source: LoadedModel, task: Task) -> GraphEnd:
        return DepthGraph(cast(DepthTask, task))

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="depth-estimation",
            description="A depth estimator",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg").depth',
            limits="Its predictions are reliable only for scenes and distances similar to its training images.",
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        return [*super().next_steps(run, config), command("saccade", "predict", run, "IMAGE", "--draw", "FOLDER")]


ROOM = DepthRoom()
