"""Embeddings from the outputs of an exported graph. Loads no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.engine.exported import ExportedTask, refuse_options
from saccade.tasks.contrastive.results import Embedding


class EmbeddingDecoder:
    """The embedding of each image."""

    def __init__(self, task: ExportedTask):
        refuse_options("contrastive", task.options)

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[Embedding]:
        return [Embedding(name, vector) for name, vector in zip(names, outputs["embedding"])]
