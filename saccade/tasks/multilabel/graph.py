"""The last part of an exported multi-label model: the score of each label."""

from collections.abc import Mapping

from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.exported import GraphFunction
from saccade.engine.graph_end import GraphEnd
from saccade.tasks.multilabel.task import MultiLabelTask


class MultiLabelGraph(GraphEnd):
    """``scores [B, K]`` float64, each in [0, 1]."""

    def __init__(self, task: MultiLabelTask):
        self.task = task

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        return {"scores": model(images).double().sigmoid()}

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        return self.task.collect(outputs["scores"].double().logit(eps=1e-12), batch)
