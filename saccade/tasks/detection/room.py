"""The room of object detection."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.data.config import DataConfig
from saccade.data.samples import BoxSource, DataSplits, Source
from saccade.engine.graph_end import GraphEnd
from saccade.engine.room import ModelCard, TaskRoom, command, refuse_options, require_preprocessing
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.errors import ConfigError
from saccade.models.detr import DETR
from saccade.tasks.detection.batches import BoxDataset, BoxTransform
from saccade.tasks.detection.check import BoxReport, check_boxes, fix_coco
from saccade.tasks.detection.detr import DetrTask
from saccade.tasks.detection.fcos import FcosTask
from saccade.tasks.detection.graph import DetrGraph, DetrMaskGraph, FcosGraph
from saccade.tasks.detection.panoptic import PanopticTask
from saccade.tasks.detection.setup import has_mask_head, make_setup, make_task
from saccade.tasks.detection.sources import open_boxes
from saccade.tasks.detection.task import DetectionTask


class DetectionRoom(TaskRoom):
    """Object detection: boxes with classes."""

    name = "detection"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        return open_boxes(path, config)

    def check(
        self,
        path: str,
        config: DataConfig | None = None,
        *,
        mode: str = "full",
        fix: bool = False,
        on_input: Callable[[int, int], None] | None = None,
    ) -> BoxReport:
        report = check_boxes(open_boxes(path, config), mode=mode, on_image=on_input)
        if fix and report.problems:
            report = replace(report, rewritten=tuple(str(file) for file in fix_coco(Path(path), report)))
        return report

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return make_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> DetectionTask:
        require_preprocessing(source)
        refuse_options(self.name, options, ("threshold", "panoptic", "stuff"))
        values = dict(options or {})
        stuff = values.pop("stuff", "")
        if values.pop("panoptic", False):
            if not has_mask_head(source.model):
                raise ConfigError("--panoptic needs a detector with a mask head, such as DETR's panoptic checkpoints")
            names = [name.strip() for name in stuff.split(",") if name.strip()]
            return PanopticTask(source.labels, stuff=names or None, **values)
        if stuff:
            raise ConfigError("--stuff names classes of a panoptic segmentation: use it with --panoptic")
        return make_task(source, **values)

    def eval_dataset(self, part: Source, source: LoadedModel) -> BoxDataset:
        assert source.preprocessing is not None
        images = cast(BoxSource, part)
        masks = has_mask_head(source.model) and images.with_boxes(0, source.preprocessing.channels).masks is not None
        return BoxDataset(images, BoxTransform(source.preprocessing), masks=masks, segments=masks)

    def graph_end(self, source: LoadedModel, task: Task) -> GraphEnd:
        if isinstance(task, DetrTask):
            if has_mask_head(source.model):
                assert source.preprocessing is not None
                return DetrMaskGraph(task, cast(DETR, source.model), source.preprocessing)
            return DetrGraph(task, cast(DETR, source.model))
        return FcosGraph(cast(FcosTask, task))

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="object-detection",
            description="An object detector",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg")',
            limits="It detects objects of these classes only.",
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        return [*super().next_steps(run, config), command("saccade", "predict", run, "IMAGE", "--draw", "FOLDER")]


ROOM = DetectionRoom()
