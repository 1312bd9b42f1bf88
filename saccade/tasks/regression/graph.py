"""The last part of an exported regression model: a number in the unit of the training values."""

from collections.abc import Mapping

from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.exported import GraphFunction
from saccade.engine.graph_end import GraphEnd
from saccade.tasks.regression.task import RegressionTask


class RegressionGraph(GraphEnd):
    """``value [B]`` float64."""

    def __init__(self, task: RegressionTask):
        self.task = task

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        return {"value": self.task.values(model(images)[:, 0])}

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        scale = self.task.scale
        return self.task.collect(((outputs["value"].double() - scale.mean) / scale.std)[:, None], batch)
