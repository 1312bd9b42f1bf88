"""How many hidden words can be named at all, where the texts are numbers in words: the best guess of somebody who knows
the grammar and counts.

A number is drawn evenly; its words are shown with noise. By Bayes' rule each number of the same length is as likely as
what is shown is under it, and a hidden word as likely as the numbers that have it there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from saccade.data.builtin.number_words import english
from saccade.data.text_batches import IGNORE_INDEX, MaskedTextDataset, TokenMasking
from saccade.data.vocabulary import Vocabulary

AT_ONCE = 20000  # numbers that are read at a time


@dataclass(frozen=True)
class Optimum:
    """What the best guesses reach.

    Attributes:
        expected: mean probability of the best guess, by the grammar.
        reached: share of these very words that the best guess names.
        words: how many were hidden.
    """

    expected: float
    reached: float
    words: int


def word_optimum(
    passages: MaskedTextDataset, limit: int, *, most: int | None = None, on_text: Callable[[int], None] | None = None
) -> Optimum:
    """The best that can be done with the hidden words of some passages.

    Args:
        passages: numbers in words with hidden words, as they are measured.
        limit: numbers are drawn evenly below it.
        most: passages that are looked at; all unless given.
        on_text: called with how many are done.
    """
    by_length = _sentences(passages.vocabulary, limit, passages.length - 2)
    count = len(passages.source) if most is None else min(most, len(passages.source))
    usual = len(passages.vocabulary.special)
    expected, reached = [], []
    for index in range(count):
        sample = passages[index, ()]
        shown, target = sample.source[1:-1].numpy(), sample.target[1:-1].numpy()
        asked = np.flatnonzero(target != IGNORE_INDEX)
        if len(asked):
            sentences = by_length[len(shown)]
            beliefs = _beliefs(sentences, shown, passages, passages.vocabulary.size - usual)
            for place in asked.tolist():
                shares = np.bincount(sentences[:, place], beliefs(place))
                best = int(shares.argmax())
                expected.append(shares[best] / shares.sum())
                reached.append(best == target[place])
        if on_text is not None:
            on_text(index + 1)
    return Optimum(float(np.mean(expected)), float(np.mean(reached)), len(reached))


def _beliefs(
    sentences: np.ndarray, shown: np.ndarray, passages: MaskedTextDataset, words: int
) -> Callable[[int], np.ndarray]:
    """(a place that is asked for) -> the likelihood of what is shown under each sentence ``[S, L]``: ``[S]``."""
    masking: TokenMasking = passages.masking
    noise = masking.random / words  # that a word which is asked for is replaced by a certain one
    kept = 1 - masking.masked - masking.random
    same = (1 - masking.share) + masking.share * (kept + noise)
    differs = sentences != shown  # [S, L]
    with np.errstate(divide="ignore"):  # without noise nothing else can stand there
        logs = np.where(differs, np.log(masking.share * noise), np.log(same))
    logs[:, shown == passages.vocabulary.mask] = 0.0  # the same for every sentence
    total = logs.sum(axis=1)

    def at(place: int) -> np.ndarray:
        log = total - logs[:, place]
        if shown[place] != passages.vocabulary.mask:  # it is known that this place is asked for
            with np.errstate(divide="ignore"):
                log = log + np.where(differs[:, place], np.log(noise), np.log(kept + noise))
        return np.exp(log - log.max())

    return at


def _sentences(vocabulary: Vocabulary, limit: int, most: int) -> dict[int, np.ndarray]:
    """All numbers below a limit in words, cut as passages are, by how many words they have: ``[S, L]`` int32."""
    found: dict[int, list[list[int]]] = {}
    for start in range(0, limit, AT_ONCE):
        for numbers in vocabulary([english(n) for n in range(start, min(start + AT_ONCE, limit))]):
            found.setdefault(min(len(numbers), most), []).append(numbers[:most])
    return {length: np.array(rows, dtype=np.int32) for length, rows in found.items()}
