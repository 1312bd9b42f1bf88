"""Zero-shot classification by an exported CLIP. Loads no torch."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from saccade.tasks.classification.results import Classification
from saccade.tasks.contrastive.exported import EmbeddingDecoder
from saccade.tasks.contrastive.prompts import TEMPLATE, check_prompts
from saccade.tasks.contrastive.results import Embedding


class ExportedZeroShot:
    """An exported CLIP as a classifier.

    Args:
        decoder: of the file.
        labels: K class names.
        templates: prompts with ``{}`` in place of the class name.

    Raises:
        ConfigError: the labels or the templates are none, or the file has no tower of texts.
    """

    def __init__(self, decoder: EmbeddingDecoder, labels: Sequence[str], templates: Sequence[str] = (TEMPLATE,)):
        check_prompts(tuple(labels), tuple(templates))
        state = decoder.task.state
        self.labels, self.scale = tuple(labels), float(state["scale"])
        self.bias = float(state["bias"]) if "bias" in state else None  # of a sigmoid objective
        self.independent = self.bias is not None
        means = [
            decoder.embed_texts([template.replace("{}", label) for template in templates]).mean(0)
            for label in self.labels
        ]
        self.classes = np.stack([mean / np.linalg.norm(mean) for mean in means])  # [K, E]

    def stream(self, embeddings: Iterable[Embedding], *, top: int = 5) -> Iterator[Classification]:
        """The best classes of each image from its embedding."""
        for one in embeddings:
            logits = self.scale * self.classes @ np.asarray(one.vector)
            if self.bias is None:
                weights = np.exp(logits - logits.max())
                scores = weights / weights.sum()
            else:
                scores = 1 / (1 + np.exp(-(logits + self.bias)))
            order = islice(np.argsort(-scores, kind="stable").tolist(), top)
            best = tuple((self.labels[index], float(scores[index])) for index in order)
            yield Classification(one.name, *best[0], best)
