"""Masked language modelling: name the hidden words of a text (Devlin et al., arXiv 1810.04805).

    loss = mean of -log(probability of the hidden word)  [+ the same of "does the second sentence follow?"]

B texts, T tokens, V words.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.data.text_batches import IGNORE_INDEX
from saccade.data.vocabulary import Vocabulary
from saccade.tasks.masked import MaskedTask
from saccade.tasks.text_predictions import WordsMetrics

NO_PAIR = -1.0


class Named(Protocol):
    """What a model says of words."""

    @property
    def logits(self) -> Tensor: ...  # [B, T, V]

    @property
    def follows(self) -> Tensor | None: ...  # [B, 2] logits: yes, no


class MaskedWords(MaskedTask):
    """Batches have as labels `target` ``[B, T]``, -1 where nothing is asked, `types`, and of pairs `follows` ``[B]``.

    Args:
        vocabulary: of the texts.
    """

    name = "words"

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary

    def run(self, model: nn.Module, batch: Batch) -> Named:
        return model(batch.inputs, labels_of(batch)["types"], batch.inputs != self.vocabulary.pad)

    def hidden(self, outputs: Named, batch: Batch) -> Tensor:
        return labels_of(batch)["target"] != IGNORE_INDEX

    def errors(self, outputs: Named, batch: Batch) -> Tensor:
        """Cross-entropy of each word, in nats; 0 where nothing is asked."""
        target = labels_of(batch)["target"]
        logits = outputs.logits.float().transpose(1, 2)
        return F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, reduction="none")

    def step(self, outputs: Named, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over hidden words, and over the pairs' answers; which share of them is right."""
        loss, labels = self.loss(outputs, batch), labels_of(batch)
        with torch.no_grad():
            right, count = self._right(outputs, batch)
            figures = {"accuracy": (right.sum() / count.sum().clamp(min=1)).double() * len(right)}
        if "follows" in labels and outputs.follows is not None:
            loss = loss + F.cross_entropy(outputs.follows.float(), labels["follows"])
            figures["next accuracy"] = (outputs.follows.argmax(1) == labels["follows"]).double().sum()
        return loss, figures

    def keep(self, outputs: Named, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of each text the sum of its errors, its words that were named rightly, and whether its pair was judged
        rightly (-1 without one): ``[B, 3]``; how many of its words were hidden, ``[B]``."""
        summed, count = super().keep(outputs, batch)
        right, _ = self._right(outputs, batch)
        labels = labels_of(batch)
        follows = torch.full_like(summed, NO_PAIR)
        if "follows" in labels and outputs.follows is not None:
            follows = (outputs.follows.argmax(1) == labels["follows"]).float().cpu()
        return torch.stack((summed, right.float().cpu(), follows), dim=1), count

    def measure(self, outputs: Tensor, targets: Tensor) -> WordsMetrics:
        errors, right, follows = outputs.double().unbind(1)
        count = int(targets.sum())
        pairs = follows[follows != NO_PAIR]
        return WordsMetrics(
            loss=errors.sum().item() / max(count, 1),
            accuracy=right.sum().item() / max(count, 1),
            follows=pairs.mean().item() if len(pairs) else None,
            images=len(outputs),
            hidden=count,
        )

    def _right(self, outputs: Named, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of each text, how many hidden words are named rightly, and how many there are: ``[B]`` twice."""
        hidden, target = self.hidden(outputs, batch), labels_of(batch)["target"]
        return ((outputs.logits.argmax(-1) == target) & hidden).sum(1), hidden.sum(1)


def labels_of(batch: Batch) -> dict[str, Tensor]:
    assert isinstance(batch.labels, dict)
    return batch.labels
