"""The Bayes-optimal accuracy of masked language modelling for numbers in words: no model can predict more masked tokens
in expectation.

A number is drawn uniformly and its words are masked with noise. By Bayes' rule the posterior of a number is
proportional to the likelihood of the input under it, and that of a masked word to the sum over the numbers that have it
there.

S numbers of one length, L their words.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from saccade.data.builtin.number_words import english
from saccade.data.vocabulary import Vocabulary
from saccade.tasks.masked_lm.batches import IGNORE_INDEX, MaskedTextDataset, TokenMasking

NUMBERS_AT_ONCE = 20000


@dataclass(frozen=True)
class BayesOptimum:
    """The accuracy of the best possible predictions.

    Attributes:
        expected: mean posterior probability of the most probable word.
        actual: fraction of these masked tokens that the most probable word equals.
        tokens: number of masked tokens.
    """

    expected: float
    actual: float
    tokens: int


def bayes_optimum(
    dataset: MaskedTextDataset,
    limit: int,
    *,
    max_texts: int | None = None,
    on_text: Callable[[int], None] | None = None,
) -> BayesOptimum:
    """The best possible predictions for the masked tokens of some texts.

    Args:
        dataset: numbers in words with masked tokens, as they are measured.
        limit: numbers are drawn uniformly below it.
        max_texts: number of texts in use; all by default.
        on_text: called with the number of texts done so far.
    """
    by_length = _sentences(dataset.vocabulary, limit, dataset.length - 2)
    count = len(dataset.source) if max_texts is None else min(max_texts, len(dataset.source))
    num_words = dataset.vocabulary.size - len(dataset.vocabulary.special)
    expected, actual = [], []
    for index in range(count):
        sample = dataset[index, ()]
        inputs, target = sample.source[1:-1].numpy(), sample.target[1:-1].numpy()
        masked = np.flatnonzero(target != IGNORE_INDEX)
        if len(masked):
            sentences = by_length[len(inputs)]
            likelihood = _likelihood(sentences, inputs, dataset, num_words)
            for position in masked.tolist():
                posterior = np.bincount(sentences[:, position], likelihood(position))
                best = int(posterior.argmax())
                expected.append(posterior[best] / posterior.sum())
                actual.append(best == target[position])
        if on_text is not None:
            on_text(index + 1)
    return BayesOptimum(float(np.mean(expected)), float(np.mean(actual)), len(actual))


def _likelihood(
    sentences: np.ndarray, inputs: np.ndarray, dataset: MaskedTextDataset, num_words: int
) -> Callable[[int], np.ndarray]:
    """(position of a masked token) -> the likelihood of the inputs ``[L]`` under each sentence ``[S, L]``, up to a
    factor: ``[S]``."""
    masking: TokenMasking = dataset.masking
    noise = masking.random_token / num_words  # probability that a selected token is replaced by a certain word
    unchanged = 1 - masking.mask_token - masking.random_token
    same = (1 - masking.mask_ratio) + masking.mask_ratio * (unchanged + noise)
    differs = sentences != inputs  # [S, L]
    with np.errstate(divide="ignore"):  # log(0): without noise no other word can be there
        logs = np.where(differs, np.log(masking.mask_ratio * noise), np.log(same))
    logs[:, inputs == dataset.vocabulary.mask] = 0.0  # the same for every sentence
    total = logs.sum(axis=1)

    def at(position: int) -> np.ndarray:
        log = total - logs[:, position]
        if inputs[position] != dataset.vocabulary.mask:  # this token is known to be selected
            with np.errstate(divide="ignore"):
                log = log + np.where(differs[:, position], np.log(noise), np.log(unchanged + noise))
        return np.exp(log - log.max())

    return at


def _sentences(vocabulary: Vocabulary, limit: int, max_words: int) -> dict[int, np.ndarray]:
    """All numbers below a limit in words, truncated as passages are, by their number of words: ``[S, L]`` int32."""
    by_length: dict[int, list[list[int]]] = {}
    for start in range(0, limit, NUMBERS_AT_ONCE):
        for ids in vocabulary([english(n) for n in range(start, min(start + NUMBERS_AT_ONCE, limit))]):
            by_length.setdefault(min(len(ids), max_words), []).append(ids[:max_words])
    return {length: np.array(rows, dtype=np.int32) for length, rows in by_length.items()}
