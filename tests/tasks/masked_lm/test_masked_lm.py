"""Masked language modelling: the loss by hand, masking, the Bayes optimum of a grammar."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from saccade.data.builtin.number_words import english
from saccade.data.samples import Batch
from saccade.data.texts import Texts
from saccade.data.vocabulary import Vocabulary
from saccade.engine.collect import Collected
from saccade.errors import ConfigError
from saccade.models.bert import Bert, BertConfig, BertOutput
from saccade.nn.transformer import BlockConfig
from saccade.tasks.masked_lm.batches import IGNORE_INDEX, MaskedTextDataset, TokenMasking
from saccade.tasks.masked_lm.bayes_optimum import bayes_optimum
from saccade.tasks.masked_lm.metrics import MaskedLMMetrics
from saccade.tasks.masked_lm.task import MaskedLMTask

VOCABULARY = Vocabulary.train(["un deux trois quatre"] * 2)
BLOCK = BlockConfig(16, 2, 16, norm_eps=1e-5)


def batch(target: list[list[int]], follows: list[int] | None = None) -> Batch:
    labels = {"target": torch.tensor(target), "types": torch.zeros(len(target), len(target[0]), dtype=torch.long)}
    if follows is not None:
        labels["follows"] = torch.tensor(follows)
    return Batch(torch.full_like(labels["target"], 5), labels, ("",) * len(target), torch.arange(len(target)))


def test_only_masked_tokens_count() -> None:
    torch.manual_seed(0)
    task = MaskedLMTask(VOCABULARY)
    net = Bert(BertConfig(BLOCK, 1, VOCABULARY.size, 8, masked_lm=True, next_sentence=True)).eval()
    texts = batch([[IGNORE_INDEX, 6, 7], [IGNORE_INDEX, IGNORE_INDEX, 8]], [0, 1])
    outputs = task.eval_step(net, texts)
    terms, counts = task.loss_terms(outputs, texts), task.counts(net, texts)
    log_probs = outputs.logits.log_softmax(-1)  # type: ignore[union-attr]
    tokens = -(log_probs[0, 1, 6] + log_probs[0, 2, 7] + log_probs[1, 2, 8]) / 3
    pairs = F.cross_entropy(outputs.follows, torch.tensor([0, 1]))  # type: ignore[arg-type]
    torch.testing.assert_close(terms.value(counts).float(), tokens + pairs)
    assert set(terms.metrics) == {"accuracy", "next-sentence accuracy"}
    metrics = task.measure(Collected(task.collect(outputs, texts), texts.names))
    assert isinstance(metrics, MaskedLMMetrics)
    assert metrics.loss == pytest.approx(tokens.item(), rel=1e-5)
    assert (metrics.hidden, metrics.images) == (3, 2)
    assert metrics.follows == pytest.approx(terms.metrics["next-sentence accuracy"].total.item() / 2)
    assert MaskedLMMetrics.from_dict(metrics.to_dict()) == metrics


def test_accuracy_is_of_the_masked_tokens() -> None:
    task = MaskedLMTask(VOCABULARY)
    texts = batch([[IGNORE_INDEX, 6, IGNORE_INDEX], [IGNORE_INDEX, IGNORE_INDEX, 8]], [0, 1])
    logits = torch.zeros(2, 3, VOCABULARY.size)
    for text, place, token in ((0, 0, 5), (0, 1, 6), (0, 2, 6), (1, 2, 7)):
        logits[text, place, token] = 9.0  # one of two is right
    outputs = BertOutput(logits, logits=logits, follows=torch.tensor([[2.0, 1.0], [1.0, 3.0]]))
    terms = task.loss_terms(outputs, texts)
    assert terms.metrics["accuracy"].total == 1
    assert task.counts(torch.nn.Identity(), texts)[terms.metrics["accuracy"].count] == 2
    assert terms.metrics["next-sentence accuracy"].total == 2
    metrics = task.measure(Collected(task.collect(outputs, texts), texts.names))
    assert (metrics.accuracy, metrics.follows, metrics.hidden) == (1 / 2, 1, 2)
    one, logits = batch([[6]]), torch.eye(VOCABULARY.size)[None, 6:7]
    metrics = task.measure(Collected(task.collect(BertOutput(logits, logits=logits), one), one.names))
    assert metrics.accuracy == 1
    assert metrics.scalars().keys() == {"loss", "accuracy"}
    assert metrics.loss == pytest.approx(-logits[0, 0].log_softmax(0)[6].item(), rel=1e-5)


def test_of_two_texts_the_second_begins_after_the_first_end() -> None:
    task = MaskedLMTask(VOCABULARY, max_length=7)
    pair = task.text_batch(["un deux [SEP] trois"], ["a"])
    tokens = pair.inputs[0].tolist()
    assert (tokens[0], tokens[-1], tokens.index(VOCABULARY.end)) == (VOCABULARY.begin, VOCABULARY.end, 3)
    assert pair.labels["types"].tolist() == [[0, 0, 0, 0, 1, 1]]  # type: ignore[index]
    several = task.text_batch(["un [SEP] deux [SEP] trois"], ["a"])
    assert several.labels["types"].tolist() == [[0, 0, 0, 1, 1, 1, 1]]  # type: ignore[index]
    assert task.text_batch(["un deux trois quatre un"], ["a"]).inputs.shape == (1, 7)  # as many as the model reads
    with pytest.raises(ConfigError, match="8 tokens"):
        task.text_batch(["un deux trois quatre un deux"], ["a"])


def test_without_masked_tokens_the_loss_is_0() -> None:
    task, net = MaskedLMTask(VOCABULARY), Bert(BertConfig(BLOCK, 1, VOCABULARY.size, 8, masked_lm=True))
    texts = batch([[IGNORE_INDEX, IGNORE_INDEX]])
    loss = task.train_step(net, texts).value(task.counts(net, texts))
    loss.backward()
    assert loss.item() == 0
    outputs = task.eval_step(net, texts)
    assert task.measure(Collected(task.collect(outputs, texts), texts.names)).accuracy == 0


def test_an_encoder_without_a_head_names_what_is_missing() -> None:
    task, net = MaskedLMTask(VOCABULARY), Bert(BertConfig(BLOCK, 1, VOCABULARY.size, 8))
    texts = task.input_batch(["un [MASK]"], [()], ["un [MASK]"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="no head for masked language modelling"):
        task.decode(task.eval_step(net, texts), texts)
    with pytest.raises(ConfigError, match=r"'un' has no \[MASK\]"):
        task.input_batch(["[MASK]", "un"], [(), ()], ["a", "b"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="no vocabulary"):
        MaskedLMTask(None).input_batch(["[MASK]"], [()], [""])  # type: ignore[list-item]


def test_several_texts_are_filled_as_each_alone() -> None:
    torch.manual_seed(0)
    task = MaskedLMTask(VOCABULARY, top=2)
    net = Bert(BertConfig(BLOCK, 1, VOCABULARY.size, 16, masked_lm=True)).eval()
    texts = ["un [MASK] trois", "[MASK] [SEP] deux [MASK]"]

    def filled(names: list[str]) -> list:
        inputs = task.input_batch(names, [()] * len(names), names)  # type: ignore[list-item]
        with torch.inference_mode():
            return task.decode(task.eval_step(net, inputs), inputs)

    together, alone = filled(texts), [filled([text])[0] for text in texts]
    assert [[mask.position for mask in one.masks] for one in together] == [[2], [1, 4]]
    assert all(len(mask.tokens) == 2 for one in together for mask in one.masks)
    for one, other in zip(together, alone):
        for mask, same in zip(one.masks, other.masks):
            assert [token for token, _ in mask.tokens] == [token for token, _ in same.tokens]
            assert [p for _, p in mask.tokens] == pytest.approx([p for _, p in same.tokens], abs=1e-6)


def test_further_tokens_are_masked_but_those_that_begin_and_end() -> None:
    task = MaskedLMTask(VOCABULARY)
    inputs = task.text_batch(["un deux trois"], [""])
    masked = torch.tensor([[False, False, True, False, False]])
    hidden = task.with_masked_tokens(inputs, masked).inputs
    assert torch.equal(hidden, torch.where(masked, VOCABULARY.mask, inputs.inputs))
    for place in (0, 4):
        with pytest.raises(ConfigError, match="never masked"):
            task.with_masked_tokens(inputs, torch.arange(5)[None] == place)


def test_a_text_is_shown_from_its_first_masked_token() -> None:
    task, net = MaskedLMTask(VOCABULARY, top=1), Bert(BertConfig(BLOCK, 1, VOCABULARY.size, 8, masked_lm=True))
    for text, first in (("un [MASK] [MASK]", 2), ("un deux", 1), ("", 1)):
        (group,) = task.attention_groups(net, BertOutput(torch.zeros(1)), task.text_batch([text], [""]))
        assert group.first == first
        assert group.queries.tokens[1:-1] == tuple(text.split())


WORDS = "un deux trois quatre un"


def sample_of(texts: list[str], index: int, key: tuple[int, ...] = (), **masking) -> tuple[list[int], list[int]]:
    """The tokens and the types of a passage of up to eight tokens."""
    source = Texts([""] * len(texts), texts, [0] * len(texts))
    passages = MaskedTextDataset(source, VOCABULARY, 8, TokenMasking(**{"mask_ratio": 0.0, **masking}))
    batch, _ = passages.collate([passages[index, key]])
    return batch.inputs[0].tolist(), batch.labels["types"][0].tolist()  # type: ignore[index]


def test_a_text_is_cut_at_the_length() -> None:
    tokens, types = sample_of([f"{WORDS} {WORDS}"], 0)
    assert VOCABULARY.tokens(tokens[1:-1]) == [*WORDS.split(), "un"]
    assert (tokens[0], tokens[-1], types) == (VOCABULARY.begin, VOCABULARY.end, [0] * 8)


@pytest.mark.parametrize("texts", [[WORDS, "un deux"], ["un deux trois"] * 2])
def test_of_a_pair_the_longer_text_is_cut_and_of_two_equal_ones_the_second(texts: list[str]) -> None:
    for key in range(6):
        tokens, types = sample_of(texts, 0, (key,), pairs=True)
        assert VOCABULARY.tokens(tokens[1:4]) == ["un", "deux", "trois"]
        assert types == [0] * 5 + [1] * 3
        assert (tokens[4], tokens[7]) == (VOCABULARY.end,) * 2


def test_a_text_that_does_not_follow_is_another_one() -> None:
    texts = ["un", "deux", "trois"]
    seconds = [VOCABULARY.tokens(sample_of(texts, 2, (key,), pairs=True)[0])[3] for key in range(20)]
    assert set(seconds) == {"un", "deux"}  # nothing follows the last one


def test_masks_change_with_the_key_and_without_one_with_the_text() -> None:
    texts = [WORDS] * 4
    for draws in ([(0, (key,)) for key in range(4)], [(index, ()) for index in range(4)]):
        results = [sample_of(texts, *draw, mask_ratio=0.5)[0] for draw in draws]
        assert len(set(map(tuple, results))) > 1
        assert results == [sample_of(texts, *draw, mask_ratio=0.5)[0] for draw in draws]


def masked(ratio: float, **changes: float) -> tuple[Vocabulary, torch.Tensor, torch.Tensor]:
    texts = Texts([f"t{i}" for i in range(400)], [english(n) for n in range(10_000, 10_400)], range(400))
    vocabulary = Vocabulary.train([texts.text(i) for i in range(400)])
    passages = MaskedTextDataset(texts, vocabulary, 32, TokenMasking(ratio, **changes))  # type: ignore[arg-type]
    samples, _ = passages.collate([passages[i, (1, 2, i)] for i in range(400)])
    return vocabulary, samples.inputs, samples.labels["target"]  # type: ignore[index]


def test_fifteen_percent_are_selected_eighty_ten_ten() -> None:
    vocabulary, inputs, target = masked(0.15)
    selected = target != IGNORE_INDEX
    words = (inputs != vocabulary.pad) & (inputs != vocabulary.begin) & (inputs != vocabulary.end)
    count = int(selected.sum())
    assert count / int(words.sum()) == pytest.approx(0.15, abs=0.02)
    is_mask, same = inputs == vocabulary.mask, inputs == target
    assert not (is_mask & ~selected).any()
    assert int(is_mask.sum()) / count == pytest.approx(0.8, abs=0.06)
    assert int((same & selected).sum()) / count == pytest.approx(0.1, abs=0.05)
    _, all_inputs, all_target = masked(0.999, mask_token=0.0, random_token=0.0)
    chosen = all_target != IGNORE_INDEX
    assert torch.equal(all_inputs[chosen], all_target[chosen])


def test_pairs_follow_each_other_in_half_of_the_cases() -> None:
    texts = Texts([str(i) for i in range(300)], [f"w{i}" for i in range(300)], [i // 30 for i in range(300)])
    vocabulary = Vocabulary.train([texts.text(i) for i in range(300)])
    passages = MaskedTextDataset(texts, vocabulary, 8, TokenMasking(0.0001, pairs=True))
    samples, _ = passages.collate([passages[i, (3, i)] for i in range(300)])
    follows, types = samples.labels["follows"], samples.labels["types"]  # type: ignore[index]
    assert (follows == 0).double().mean().item() == pytest.approx(0.5, abs=0.1)
    for index, (row, answer) in enumerate(zip(samples.inputs.tolist(), follows.tolist())):
        first, second = (int(vocabulary.tokens([row[place]])[0][1:]) for place in (1, 3))
        assert first == index
        assert (second == index + 1 and index % 30 != 29) == (answer == 0)
    assert types[0].tolist() == [0, 0, 0, 1, 1]


def passages(limit: int, masking: TokenMasking) -> MaskedTextDataset:
    texts = Texts([str(n) for n in range(limit)], [english(n) for n in range(limit)], range(limit))
    vocabulary = Vocabulary.train([english(n) for n in range(limit)])
    return MaskedTextDataset(texts, vocabulary, 32, masking)


def test_the_optimum_counts_the_words_that_fit() -> None:
    dataset = passages(10, TokenMasking(mask_ratio=0.3, mask_token=1.0, random_token=0.0))
    optimum = bayes_optimum(dataset, 10)
    assert optimum.tokens > 0
    assert optimum.expected == pytest.approx(0.1)  # ten numbers of one word


def test_the_optimum_by_brute_force() -> None:
    masking = TokenMasking(mask_ratio=0.4, mask_token=0.6, random_token=0.3)
    limit = 400
    dataset = passages(limit, masking)
    vocabulary = dataset.vocabulary
    words = vocabulary.size - len(vocabulary.special)
    sentences = vocabulary([english(n) for n in range(limit)])

    def likelihood(word: int, shown: int, selected: bool) -> float:
        """P(shown | word), where it is known to be selected, or unknown."""
        unchanged = (1 - masking.mask_token - masking.random_token) * (word == shown)
        if_selected = masking.mask_token if shown == vocabulary.mask else unchanged + masking.random_token / words
        return (
            if_selected if selected else masking.mask_ratio * if_selected + (1 - masking.mask_ratio) * (word == shown)
        )

    expected = []
    for index in range(60):
        sample = dataset[index, ()]
        shown, target = sample.source[1:-1].tolist(), sample.target[1:-1].tolist()
        for position in (p for p, t in enumerate(target) if t != IGNORE_INDEX):
            posterior: dict[int, float] = {}
            for sentence in (s for s in sentences if len(s) == len(shown)):
                parts = [likelihood(w, s, p == position) for p, (w, s) in enumerate(zip(sentence, shown))]
                posterior[sentence[position]] = posterior.get(sentence[position], 0.0) + math.prod(parts)
            expected.append(max(posterior.values()) / sum(posterior.values()))
    assert bayes_optimum(dataset, limit, max_texts=60).expected == pytest.approx(float(np.mean(expected)), abs=1e-9)
