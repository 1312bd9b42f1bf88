"""Maps of depth and of classes from the outputs of an exported graph. Loads no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.engine.exported import ExportedTask, refuse_options
from saccade.tasks.dense.results import Depth, Segmentation


class DepthDecoder:
    """The depth of each image."""

    def __init__(self, task: ExportedTask):
        refuse_options("depth", task.options, ("max_depth",))
        self.unit = str(task.state["unit"])

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[Depth]:
        return [Depth(name, depth, self.unit) for name, depth in zip(names, outputs["depth"])]


class SegmentationDecoder:
    """The class of every pixel of each image."""

    def __init__(self, task: ExportedTask):
        refuse_options("segmentation", task.options)
        self.labels = task.labels

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[Segmentation]:
        return [Segmentation(name, classes, self.labels) for name, classes in zip(names, outputs["classes"])]
