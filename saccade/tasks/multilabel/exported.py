"""Labels from the outputs of an exported graph. Loads no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.engine.exported import ExportedTask, refuse_options
from saccade.errors import ConfigError
from saccade.tasks.multilabel.results import MultiLabel


class MultiLabelDecoder:
    """The labels of each image.

    Args:
        task: its options are `top`, the number of labels in a result, and `threshold`, the lowest score of a label,
            instead of the model's own.
    """

    def __init__(self, task: ExportedTask):
        refuse_options("multilabel", task.options, ("top", "threshold"))
        self.labels, self.top = task.labels, task.options.get("top", 5)
        thresholds = task.options.get("threshold", task.state.get("thresholds", 0.5))
        self.thresholds = np.broadcast_to(np.asarray(thresholds, np.float64), (len(self.labels),))
        if self.top < 1:
            raise ConfigError(f"top must be at least 1, not {self.top}")

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[MultiLabel]:
        results = []
        for name, row in zip(names, outputs["scores"].tolist()):
            order = sorted(range(len(row)), key=lambda k: -row[k])
            present = tuple(self.labels[k] for k in order if row[k] >= self.thresholds[k])
            results.append(MultiLabel(name, present, tuple((self.labels[k], row[k]) for k in order[: self.top])))
        return results
