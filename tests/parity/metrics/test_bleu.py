"""BLEU and chrF as the task measures them against sacrebleu on the decoded texts."""

from collections.abc import Sequence

import numpy as np
import pytest
import sacrebleu
import torch

from saccade.data.samples import Batch
from saccade.data.vocabulary import Kind, Vocabulary
from saccade.engine.collect import Collected
from saccade.tasks.seq2seq.task import Generation, Seq2SeqTask

pytest.importorskip("tokenizers")
TEXTS = (
    "the cat isn't over there , and then two hundred-and-one birds sang .",
    "Why did a small Dog leave The house ?",
    "a naïve dog , an owl : one of 1,234.5 !",
)
WORDS = " ".join(TEXTS).split()
OTHER_CASE = {"the": "The", "The": "the", "dog": "Dog", "Dog": "dog"}


def corpus(seed: int) -> tuple[list[str], list[str]]:
    """Generated texts and their references: words are dropped, repeated and replaced, one text is empty, one right."""
    random = np.random.default_rng(seed)
    references = [" ".join(random.choice(WORDS, random.integers(1, 16))) for _ in range(30)]
    generated = []
    for reference in references:
        words: list[str] = []
        for word, kind in zip(reference.split(), random.random(16)):
            other = OTHER_CASE.get(word, "owl")
            words += [] if kind < 0.1 else [word, word] if kind < 0.15 else [other] if kind < 0.3 else [word]
        generated.append(" ".join(words))
    generated[3], generated[4] = "", references[4]
    return generated, references


def collect(
    task: Seq2SeqTask, vocabulary: Vocabulary, generated: Sequence[str], references: Sequence[str]
) -> Collected:
    """What the task keeps of one batch."""
    rows = [[vocabulary.begin, *ids, vocabulary.end] for ids in vocabulary(references)]
    target = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=vocabulary.pad
    )
    names = tuple(references)
    batch = Batch(target.clone(), {"target": target}, names, torch.arange(len(names)))
    tokens = tuple(tuple(ids) for ids in vocabulary(generated))
    logits = torch.zeros(len(names), target.shape[1] - 1, vocabulary.size)
    outputs = Generation(tokens, torch.zeros(len(names)), logits)
    assert [result.text for result in task.decode(outputs, batch)] == generated  # also the texts of a prediction
    return Collected(task.collect(outputs, batch), names)


@pytest.mark.parametrize("kind", ["word", "bpe", "byte"])
@pytest.mark.parametrize("seed", range(2))
def test_sacrebleu_on_the_texts(kind: Kind, seed: int) -> None:
    vocabulary = Vocabulary.train(TEXTS * 3, kind, 400)
    task = Seq2SeqTask(vocabulary)
    generated, references = corpus(seed)
    parts = [collect(task, vocabulary, generated[part], references[part]) for part in (slice(0, 7), slice(7, 30))]
    metrics = task.measure(Collected.joined(parts))
    assert metrics.bleu == sacrebleu.corpus_bleu(generated, [references]).score
    assert metrics.chrf == sacrebleu.corpus_chrf(generated, [references]).score
    assert metrics.exact == sum(a == b for a, b in zip(generated, references)) / 30
    assert 20 < metrics.bleu < 90
    assert 20 < metrics.chrf < 90
    # Of the corpus: not a mean over texts, nor over batches.
    each = [sacrebleu.corpus_bleu([a], [[b]]).score for a, b in zip(generated, references)]
    assert abs(np.mean(each) - metrics.bleu) > 1
