"""The last parts of exported dense models: maps at the size of the image."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.exported import GraphFunction
from saccade.engine.graph_end import GraphEnd
from saccade.tasks.dense.depth import DepthTask
from saccade.tasks.dense.segmentation import SegmentationTask


class Values(NamedTuple):
    """Maps in place of a model's output."""

    values: Tensor
    aux: None = None


class DepthGraph(GraphEnd):
    """``depth [B, H, W]``, in metres or inverse."""

    def __init__(self, task: DepthTask):
        self.task = task

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        return {"depth": resized(model(images).values.float()[:, None], sizes)[:, 0]}

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        return self.task.collect(Values(outputs["depth"]), batch)

    def state(self) -> dict[str, Any]:
        return {"unit": self.task.unit}


class SegmentationGraph(GraphEnd):
    """``classes [B, H, W]`` int64."""

    def __init__(self, task: SegmentationTask):
        self.task = task

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        return {"classes": resized(model(images).values.float(), sizes).argmax(1)}

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        scores = F.one_hot(outputs["classes"], len(self.task.labels)).permute(0, 3, 1, 2)
        return self.task.collect(Values(scores.float()), batch)


def resized(maps: Tensor, sizes: Tensor) -> Tensor:
    """``[B, C, h, w]`` -> ``[B, C, H, W]``, bilinear, where `sizes` are (H, W)."""
    height, width = (int(n) if isinstance(n, int) else n for n in sizes.tolist())
    torch._check(height >= 1)
    torch._check(width >= 1)
    return F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
