"""Classes, or the features of an encoder without a head, from the outputs of an exported graph. Loads no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.engine.exported import ExportedTask, refuse_options
from saccade.errors import ConfigError
from saccade.tasks.classification.results import Classification
from saccade.tasks.contrastive.results import Embedding


class ClassificationDecoder:
    """The best classes of each image, or its embedding.

    Args:
        task: its option `top` is the number of classes in a result, 5 by default.
    """

    def __init__(self, task: ExportedTask):
        refuse_options("classification", task.options, ("top",))
        self.labels, self.top = task.labels, task.options.get("top", 5)
        if self.top < 1:
            raise ConfigError(f"top must be at least 1, not {self.top}")

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> Sequence[Classification] | Sequence[Embedding]:
        if "embedding" in outputs:
            return [Embedding(name, vector) for name, vector in zip(names, outputs["embedding"])]
        results = []
        for name, row in zip(names, outputs["probabilities"]):
            order = np.argsort(-row, kind="stable")[: self.top]
            best = tuple((self.labels[index], float(row[index])) for index in order)
            results.append(Classification(name, best[0][0], best[0][1], best))
        return results
