"""Embeddings from the outputs of an exported graph, and of texts from a second graph. Loads no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.data.tokenizer import tokenizer_from_files
from saccade.engine.exported import ExportedTask, refuse_options
from saccade.errors import ConfigError
from saccade.tasks.contrastive.results import Embedding


class EmbeddingDecoder:
    """The embedding of each image, and of texts by the text encoder's graph."""

    def __init__(self, task: ExportedTask):
        refuse_options("contrastive", task.options)
        self.task = task

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors ``[T, E]``.

        Raises:
            ConfigError: the file was exported without its tower of texts.
        """
        if "text" not in self.task.parts:
            raise ConfigError("this file has no tower of texts: export the model again")
        tokenizer = tokenizer_from_files(self.task.vocabulary, "the file", int(self.task.state["context_length"]))
        return self.task.parts["text"]({"tokens": tokenizer.ids(texts)})["embedding"]

    def decode(
        self, outputs: Mapping[str, np.ndarray], names: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[Embedding]:
        return [Embedding(name, vector) for name, vector in zip(names, outputs["embedding"])]
