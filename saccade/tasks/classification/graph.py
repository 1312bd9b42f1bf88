"""The last part of an exported classifier: the probability of each class, or the features of an encoder without a
head."""

from collections.abc import Mapping

from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.exported import GraphFunction
from saccade.engine.graph_end import GraphEnd
from saccade.errors import ConfigError
from saccade.tasks.classification.task import ClassificationTask

SMALLEST = 1e-37  # probability; smaller ones are 0 in single precision


class EncoderGraph(GraphEnd):
    """``embedding [B, D]``: the features of a model without a head."""

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        return {"embedding": model(images).float()}

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        raise ConfigError("the file has an encoder without a head: measure its features with saccade probe")


class ClassificationGraph(GraphEnd):
    """``probabilities [B, K]``."""

    def __init__(self, task: ClassificationTask):
        self.task = task

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        return {"probabilities": model(images).float().softmax(1)}

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        return self.task.collect(outputs["probabilities"].clamp(min=SMALLEST).log(), batch)
