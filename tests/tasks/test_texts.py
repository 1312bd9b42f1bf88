"""Translation and hidden words: losses by hand, what is measured, the optimum of a grammar."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from saccade.tasks.collect import stacked

from saccade.analysis.word_optimum import word_optimum
from saccade.data.builtin.number_words import english
from saccade.data.samples import Batch
from saccade.data.text_batches import IGNORE_INDEX, MaskedTextDataset, TokenMasking
from saccade.data.texts import Texts
from saccade.data.vocabulary import Vocabulary
from saccade.models.bert import Bert, BertConfig
from saccade.models.seq2seq import Seq2Seq, Seq2SeqConfig
from saccade.nn.transformer import BlockConfig
from saccade.tasks.text_predictions import TranslationMetrics, WordsMetrics
from saccade.tasks.translation import NextWords, TranslationTask
from saccade.tasks.words import MaskedWords

VOCABULARY = Vocabulary.learned(["un deux trois quatre"] * 2)
BLOCK = BlockConfig(16, 2, 16, norm_eps=1e-5)


def batch(*texts: str) -> Batch:
    rows = [[VOCABULARY.begin, *VOCABULARY([text])[0], VOCABULARY.end] for text in texts]
    target = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    names = tuple(texts)
    return Batch(target.clone(), {"target": target}, names, torch.arange(len(texts)))


def test_the_loss_is_that_of_the_words_that_are_there() -> None:
    torch.manual_seed(0)
    task, told = TranslationTask(VOCABULARY), batch("un deux trois", "un")
    logits = torch.randn(2, 4, VOCABULARY.size)
    loss, figures = task.step(NextWords(logits, None), told)
    logs, target = logits.log_softmax(-1), told.labels["target"]  # type: ignore[index]
    places = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]  # the words and the end of each
    expected = -sum(logs[b, m, target[b, m + 1]] for b, m in places) / 6
    torch.testing.assert_close(loss, expected)
    right = [[logits[b, m].argmax() == target[b, m + 1] for x, m in places if x == b] for b in (0, 1)]
    share = sum(sum(map(bool, row)) / len(row) for row in right)
    assert figures["word accuracy"].item() == pytest.approx(share)


def test_a_perfect_answer_has_the_smallest_loss() -> None:
    for smoothing in (0.0, 0.1):
        task, told = TranslationTask(VOCABULARY, smoothing), batch("un deux", "trois quatre")
        target = told.labels["target"][:, 1:]  # type: ignore[index]
        size = VOCABULARY.size
        truth = F.one_hot(target, size) * (1 - smoothing) + smoothing / size
        loss, _ = task.step(NextWords(truth.clamp(min=1e-9).log(), None), told)
        assert loss.item() == pytest.approx(task.smallest_loss, abs=1e-5)


def test_texts_are_written_when_nobody_learns() -> None:
    torch.manual_seed(0)
    config = Seq2SeqConfig(block=BLOCK, encoder_depth=1, decoder_depth=1, vocab_size=VOCABULARY.size, context_length=8)
    net, task = Seq2Seq(config).eval(), TranslationTask(VOCABULARY, length=5)
    told = batch("un deux", "trois")
    assert task.run(net, told).written is None
    with torch.no_grad():
        outputs = task.run(net, told)
    assert outputs.written is not None
    assert outputs.written.shape[1] <= 6
    kept, target = task.keep(outputs, told)
    losses = F.cross_entropy(outputs.logits.transpose(1, 2), target[:, 1:], reduction="none")
    assert kept[0, 0].item() == pytest.approx(losses[0, :3].sum().item(), rel=1e-5)
    assert kept[1, 1].item() == 2  # a word and the end


def measured(said: list[str], true: list[str]) -> TranslationMetrics:
    """Through the shape in which a split keeps them: rows of several lengths."""
    task = TranslationTask(VOCABULARY)
    outputs, targets = [], []
    for one, other in zip(said, true):
        words = [*VOCABULARY([one])[0], VOCABULARY.end]
        outputs.append(torch.tensor([[3.0, 2.0, *words]]))
        targets.append(batch(other).labels["target"])  # type: ignore[index]
    return task.measure(stacked(outputs), stacked(targets))


def test_exact_match_bleu_and_loss() -> None:
    found = measured(["un deux trois quatre", "un", "deux"], ["un deux trois quatre", "un deux", "deux"])
    assert found.exact == pytest.approx(2 / 3)
    assert found.loss == pytest.approx(1.5)
    assert 0 < found.bleu < 100
    perfect = measured(["un deux trois quatre"], ["un deux trois quatre"])
    assert (perfect.exact, perfect.bleu, perfect.chrf) == pytest.approx((1.0, 100.0, 100.0))
    assert perfect.goal > found.goal
    assert TranslationMetrics(**perfect.to_dict()) == perfect


def test_an_unknown_word_is_never_written_rightly() -> None:
    found = measured(["cinq"], ["cinq"])  # [UNK] both times
    assert found.exact == 0


def hidden(target: list[list[int]], follows: list[int] | None = None) -> Batch:
    labels = {"target": torch.tensor(target), "types": torch.zeros(len(target), len(target[0]), dtype=torch.long)}
    if follows is not None:
        labels["follows"] = torch.tensor(follows)
    return Batch(torch.full_like(labels["target"], 5), labels, ("",) * len(target), torch.arange(len(target)))


def test_only_hidden_words_count() -> None:
    torch.manual_seed(0)
    task = MaskedWords(VOCABULARY)
    config = BertConfig(BLOCK, 1, VOCABULARY.size, 8, masked_lm=True, next_sentence=True)
    net = Bert(config).eval()
    told = hidden([[IGNORE_INDEX, 6, 7], [IGNORE_INDEX, IGNORE_INDEX, 8]], [0, 1])
    outputs = task.run(net, told)
    loss, figures = task.step(outputs, told)
    logs = outputs.logits.log_softmax(-1)  # type: ignore[union-attr]
    words = -(logs[0, 1, 6] + logs[0, 2, 7] + logs[1, 2, 8]) / 3
    pairs = F.cross_entropy(outputs.follows, torch.tensor([0, 1]))  # type: ignore[arg-type]
    torch.testing.assert_close(loss, words + pairs)
    assert set(figures) == {"accuracy", "next accuracy"}
    found = task.measure(*task.keep(outputs, told))
    assert isinstance(found, WordsMetrics)
    assert found.loss == pytest.approx(words.item(), rel=1e-5)
    assert (found.hidden, found.images) == (3, 2)
    assert found.follows == pytest.approx(figures["next accuracy"].item() / 2)


def test_where_nothing_is_hidden_the_loss_is_nothing() -> None:
    task, net = MaskedWords(VOCABULARY), Bert(BertConfig(BLOCK, 1, VOCABULARY.size, 8, masked_lm=True))
    told = hidden([[IGNORE_INDEX, IGNORE_INDEX]])
    loss, _ = task.step(task.run(net, told), told)
    loss.backward()
    assert loss.item() == 0
    assert task.measure(*task.keep(task.run(net, told), told)).accuracy == 0


def passages(limit: int, masking: TokenMasking) -> MaskedTextDataset:
    texts = Texts([str(n) for n in range(limit)], [english(n) for n in range(limit)], range(limit))
    vocabulary = Vocabulary.learned([english(n) for n in range(limit)])
    return MaskedTextDataset(texts, vocabulary, 32, masking)


def test_the_optimum_counts_what_can_stand_there() -> None:
    """Of the numbers below 100 in one word each is as likely; with the noise by hand."""
    dataset = passages(10, TokenMasking(share=0.3, masked=1.0, random=0.0))
    found = word_optimum(dataset, 10)
    assert found.words > 0
    assert found.expected == pytest.approx(0.1)  # ten numbers of one word


def test_the_optimum_by_brute_force() -> None:
    masking = TokenMasking(share=0.4, masked=0.6, random=0.3)
    limit = 400
    dataset = passages(limit, masking)
    vocabulary = dataset.vocabulary
    words = vocabulary.size - len(vocabulary.special)
    sentences = vocabulary([english(n) for n in range(limit)])

    def shown_as(true: int, seen: int, asked: bool) -> float:
        """P(shown | true word), where it is known to be asked for, or unknown."""
        kept = (1 - masking.masked - masking.random) * (true == seen)
        if_asked = masking.masked if seen == vocabulary.mask else kept + masking.random / words
        return if_asked if asked else masking.share * if_asked + (1 - masking.share) * (true == seen)

    expected = []
    for index in range(60):
        sample = dataset[index, ()]
        shown, target = sample.source[1:-1].tolist(), sample.target[1:-1].tolist()
        for place in (p for p, t in enumerate(target) if t != IGNORE_INDEX):
            belief: dict[int, float] = {}
            for sentence in (s for s in sentences if len(s) == len(shown)):
                parts = [shown_as(w, s, p == place) for p, (w, s) in enumerate(zip(sentence, shown))]
                belief[sentence[place]] = belief.get(sentence[place], 0.0) + math.prod(parts)
            expected.append(max(belief.values()) / sum(belief.values()))
    assert word_optimum(dataset, limit, most=60).expected == pytest.approx(float(np.mean(expected)), abs=1e-9)
