"""The end of an exported classifier: the probability of each class."""

from collections.abc import Mapping

from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.graph_end import GraphEnd
from saccade.tasks.classification.task import ClassificationTask

SMALLEST = 1e-37  # probability; smaller ones are 0 in single precision


class ClassificationGraph(GraphEnd):
    """``probabilities [B, K]``."""

    def __init__(self, task: ClassificationTask):
        self.task = task

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        return {"probabilities": model(images).float().softmax(1)}

    def collect(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return self.task.collect(outputs["probabilities"].clamp(min=SMALLEST).log(), batch)
