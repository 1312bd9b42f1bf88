"""Values from the outputs of an exported graph. Loads no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.engine.exported import ExportedTask, refuse_options
from saccade.tasks.regression.results import Regression


class RegressionDecoder:
    """The value of each image."""

    def __init__(self, task: ExportedTask):
        refuse_options("regression", task.options)
        self.labels = task.labels

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[Regression]:
        return [Regression(name, float(value), self.labels[0]) for name, value in zip(names, outputs["value"])]
