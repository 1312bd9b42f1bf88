"""Texts out of texts, or out of images: cross-entropy of the next word (Vaswani et al., arXiv 1706.03762).

In training the words before are given, all at once; to measure, a text is written word after word.

B texts, M tokens of a target with its marks, V words.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.data.vocabulary import UNKNOWN, Vocabulary
from saccade.errors import DataError
from saccade.nn.generation import greedy
from saccade.tasks.text_predictions import TranslationMetrics, Written

NEVER_WRITTEN = "\ufffd"  # stands in a reference for a word that the vocabulary lacks: nothing can equal it


class NextWords(NamedTuple):
    """Logits of the words after each of a target's but the last; and what the model writes, where it is asked."""

    logits: Tensor  # [B, M - 1, V]
    written: Tensor | None  # [B, n], filled up with the end


class TranslationTask:
    """Labels of batches: `target` ``[B, M]``, begun, ended and filled up.

    Args:
        vocabulary: of the targets.
        smoothing: share of the probability that is spread over all words (Szegedy et al., arXiv 1512.00567).
        length: most tokens that are written.
    """

    name = "translation"
    labels: tuple[str, ...] = ()

    def __init__(self, vocabulary: Vocabulary, smoothing: float = 0.0, length: int = 64):
        self.vocabulary, self.smoothing, self.length = vocabulary, smoothing, length

    @property
    def smallest_loss(self) -> float:
        """The entropy of the smoothed truth."""
        if not self.smoothing:
            return 0.0
        other = self.smoothing / self.vocabulary.size
        shares = torch.tensor([1 - self.smoothing + other, *[other] * (self.vocabulary.size - 1)])
        return -(shares * shares.log()).sum().item()

    def run(self, model: nn.Module, batch: Batch) -> NextWords:
        logits = model(batch.inputs, target_of(batch)[:, :-1])
        if torch.is_grad_enabled():
            return NextWords(logits, None)
        texts = greedy(model, batch.inputs, self.length)  # type: ignore[arg-type]  # a model that writes
        ends = [torch.tensor([*text.tokens, self.vocabulary.end]) for text in texts]
        written = nn.utils.rnn.pad_sequence(ends, batch_first=True, padding_value=self.vocabulary.end)
        return NextWords(logits, written)

    def step(self, outputs: NextWords, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over the words of the batch; and the share of each text's words that are right."""
        following = target_of(batch)[:, 1:]
        loss = F.cross_entropy(
            outputs.logits.float().flatten(0, 1), following.flatten(), ignore_index=self.vocabulary.pad,
            label_smoothing=self.smoothing,
        )  # fmt: skip
        with torch.no_grad():
            there = following != self.vocabulary.pad
            right = (outputs.logits.argmax(-1) == following) & there
            return loss, {"word accuracy": (right.sum(1) / there.sum(1)).double().sum()}

    def keep(self, outputs: NextWords, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of each text the sum of its words' losses, their number and what was written ``[B, 2 + n]``; its target."""
        target = target_of(batch)
        following = target[:, 1:]
        there = following != self.vocabulary.pad
        losses = F.cross_entropy(outputs.logits.float().transpose(1, 2), following, reduction="none") * there
        assert outputs.written is not None
        told = torch.stack((losses.sum(1), there.sum(1).float()), dim=1).cpu()
        return torch.cat((told, outputs.written.float().cpu()), dim=1), target.cpu()

    def decode(self, outputs: Tensor, names: Sequence[str], *, top: int = 5) -> list[Written]:
        return [Written(name, self._text(row[2:])) for name, row in zip(names, outputs)]

    def truth(self, target: Tensor) -> str:
        return self._text(target)

    def measure(self, outputs: Tensor, targets: Tensor) -> TranslationMetrics:
        try:
            from sacrebleu import corpus_bleu, corpus_chrf
        except ImportError:
            raise DataError("to measure translations takes one more package: pip install saccade[text]") from None
        said = [self._text(row[2:]) for row in outputs]
        true = [self._text(row).replace(UNKNOWN, NEVER_WRITTEN) for row in targets]
        return TranslationMetrics(
            loss=(outputs[:, 0].double().sum() / outputs[:, 1].double().sum()).item(),
            exact=sum(a == b for a, b in zip(said, true)) / len(true),
            bleu=corpus_bleu(said, [true]).score,
            chrf=corpus_chrf(said, [true]).score,
            images=len(true),
        )

    def _text(self, row: Tensor) -> str:
        """Numbers, of which those that fill up a row of a split are negative or no numbers, as a text."""
        kept = row[~row.isnan()] if row.is_floating_point() else row
        return self.vocabulary.decode([n for n in kept.long().tolist() if n >= 0])


def target_of(batch: Batch) -> Tensor:
    """``[B, M]``."""
    assert isinstance(batch.labels, dict)
    labels: dict[str, Any] = batch.labels
    return labels["target"]
