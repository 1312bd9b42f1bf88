"""Sequence to sequence: the loss by hand, decoding, metrics, batches."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import sacrebleu
import torch
import torch.nn.functional as F

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.data.augmentation import EvalTransform
from saccade.data.builtin.number_words import english, french
from saccade.data.config import DataConfig, NumbersConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch, CaptionedImage, Translation
from saccade.data.texts import open_translations
from saccade.data.vocabulary import Vocabulary
from saccade.engine.collect import Collected
from saccade.errors import ConfigError
from saccade.models.bert import Bert, BertConfig
from saccade.models.seq2seq import Seq2Seq, Seq2SeqConfig
from saccade.nn.generation import beam_search, greedy
from saccade.nn.transformer import BlockConfig
from saccade.tasks.seq2seq.batches import ImageTextDataset, TranslationDataset
from saccade.tasks.seq2seq.metrics import Seq2SeqMetrics
from saccade.tasks.seq2seq.task import Generation, Seq2SeqTask

VOCABULARY = Vocabulary.train(["un deux trois quatre"] * 2)
BLOCK = BlockConfig(16, 2, 16, norm_eps=1e-5)


def batch(*texts: str) -> Batch:
    rows = [[VOCABULARY.begin, *VOCABULARY([text])[0], VOCABULARY.end] for text in texts]
    target = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return Batch(target.clone(), {"target": target}, tuple(texts), torch.arange(len(texts)))


def model() -> Seq2Seq:
    torch.manual_seed(0)
    config = Seq2SeqConfig(
        block=BLOCK, encoder_depth=1, decoder_depth=1, vocab_size=VOCABULARY.size, context_length=8,
        pad=VOCABULARY.pad, begin=VOCABULARY.begin, end=VOCABULARY.end,
    )  # fmt: skip
    return Seq2Seq(config).eval()


def test_the_loss_is_the_cross_entropy_of_the_tokens_without_padding() -> None:
    torch.manual_seed(0)
    task, pairs, net = Seq2SeqTask(VOCABULARY), batch("un deux trois", "un"), model()
    logits = torch.randn(2, 4, VOCABULARY.size)
    terms, counts = task.loss_terms(logits, pairs), task.counts(net, pairs)
    log_probs, target = logits.log_softmax(-1), pairs.labels["target"]  # type: ignore[index]
    positions = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]  # the words of each and its end
    expected = -sum(log_probs[b, m, target[b, m + 1]] for b, m in positions) / 6
    assert counts["tokens"] == 6
    torch.testing.assert_close(terms.value(counts), expected)
    correct = sum(bool(logits[b, m].argmax() == target[b, m + 1]) for b, m in positions)
    assert terms.metrics["token accuracy"].total == correct


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_perfect_prediction_has_the_smallest_loss(smoothing: float) -> None:
    task, pairs = Seq2SeqTask(VOCABULARY, label_smoothing=smoothing), batch("un deux", "trois quatre")
    target = pairs.labels["target"][:, 1:]  # type: ignore[index]
    size = VOCABULARY.size
    smoothed = F.one_hot(target, size) * (1 - smoothing) + smoothing / size
    terms, counts = task.loss_terms(smoothed.clamp(min=1e-9).log(), pairs), task.counts(model(), pairs)
    loss = terms.value(counts)
    assert terms.metrics["token accuracy"].total == counts["tokens"]
    with pytest.raises(ConfigError, match="label_smoothing"):
        Seq2SeqTask(VOCABULARY, label_smoothing=1.0)
    assert loss.item() == pytest.approx(task.smallest_loss, abs=1e-5)


def test_label_smoothing_stays_out_of_what_is_measured() -> None:
    pairs, net = batch("un deux", "trois quatre"), model()
    collected = []
    for smoothing in (0.0, 0.3):
        task = Seq2SeqTask(VOCABULARY, label_smoothing=smoothing, max_length=5)
        collected.append(task.collect(task.eval_step(net, pairs), pairs)["loss"])
    assert torch.equal(*collected)


def test_only_evaluation_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step is teacher forcing, with and without gradients; an evaluation step generates texts in both."""
    net, task, pairs = model(), Seq2SeqTask(VOCABULARY, max_length=5), batch("un deux", "trois")
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            outputs = task.eval_step(net, pairs)
        assert len(outputs.tokens) == 2
        assert max(map(len, outputs.tokens)) <= 5
        assert outputs.logits is not None
    collected = Collected(task.collect(outputs, pairs), pairs.names)
    losses = F.cross_entropy(
        outputs.logits.transpose(1, 2), pairs.labels["target"][:, 1:], reduction="none"  # type: ignore[index]
    )  # fmt: skip
    assert collected["loss"][0].item() == pytest.approx(losses[0, :3].sum().item(), rel=1e-5)
    assert collected["num_target"].tolist() == [3, 2]  # words and the end
    assert [len(ids) for ids in collected.per_input("generated", "num_generated")] == [len(t) for t in outputs.tokens]

    def decode(*arguments: object) -> None:
        raise AssertionError("a training step must not decode")

    monkeypatch.setattr("saccade.tasks.seq2seq.task.greedy", decode)
    with torch.no_grad():
        assert task.train_step(net, pairs).loss["cross-entropy"].total > 0


def test_beam_search_is_an_option_of_the_task() -> None:
    net, pairs = model(), batch("un deux", "trois")
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.6)  # so that the first token of the best text is not the most probable one
        assert greedy(net, pairs.inputs, 5)[0].tokens != beam_search(net, pairs.inputs, 2, max_length=5)[0].tokens
        for count in (1, 2, 3):
            outputs = Seq2SeqTask(VOCABULARY, max_length=5, num_beams=count).eval_step(net, pairs)
            beams = beam_search(net, pairs.inputs, count, max_length=5)
            expected = greedy(net, pairs.inputs, 5) if count == 1 else beams
            assert outputs.tokens == tuple(one.tokens for one in expected)
            assert outputs.scores.tolist() == pytest.approx([one.score for one in expected], abs=1e-5)
        task = Seq2SeqTask(VOCABULARY, max_length=5)
        sources = task.input_batch(["un deux", "trois"], [(), ()], ["a", "b"])  # type: ignore[list-item]
        assert sources.inputs.shape == (2, 3)  # with the end
        outputs = task.eval_step(net, sources)
        assert outputs.logits is None
        assert outputs.tokens == tuple(one.tokens for one in greedy(net, sources.inputs, 5))
    with pytest.raises(ConfigError, match="num_beams"):
        Seq2SeqTask(VOCABULARY, num_beams=0)


def measured(generated: list[str], targets: list[str]) -> Seq2SeqMetrics:
    """Through the tensors that are collected: each target has two tokens with a loss of 3 in all."""
    task, parts = Seq2SeqTask(VOCABULARY), []
    for text, target in zip(generated, targets):
        pairs = batch(target)
        length = pairs.labels["target"].shape[1] - 1  # type: ignore[index]
        outputs = Generation((tuple(VOCABULARY([text])[0]),), torch.zeros(1), torch.zeros(1, length, VOCABULARY.size))
        tensors = {**task.collect(outputs, pairs), "loss": torch.tensor([1.5 * length])}
        parts.append(Collected(tensors, pairs.names))
    return task.measure(Collected.joined(parts))


def test_exact_match_bleu_and_loss() -> None:
    metrics = measured(["un deux trois quatre", "un", "deux"], ["un deux trois quatre", "un deux", "deux"])
    assert metrics.exact == pytest.approx(2 / 3)
    assert metrics.loss == pytest.approx(1.5)
    assert 0 < metrics.bleu < 100
    perfect = measured(["un deux trois quatre"], ["un deux trois quatre"])
    assert (perfect.exact, perfect.bleu, perfect.chrf) == pytest.approx((1.0, 100.0, 100.0))
    assert perfect.selection > metrics.selection
    assert Seq2SeqMetrics.from_dict(perfect.to_dict()) == perfect


def test_the_loss_of_a_draw_is_that_of_its_tokens() -> None:
    task, pairs = Seq2SeqTask(VOCABULARY), batch("un deux trois", "un")
    outputs = Generation(((), ()), torch.zeros(2), torch.zeros(2, 4, VOCABULARY.size))
    tensors = {**task.collect(outputs, pairs), "loss": torch.tensor([8.0, 1.0])}  # of four tokens, and of two
    resample = task.resampler(Collected(tensors, pairs.names))
    assert resample(torch.tensor([0, 1, 1]))["loss"] == pytest.approx(10 / 8)


def test_attention_is_of_the_generated_text() -> None:
    task, net, pairs = Seq2SeqTask(VOCABULARY), model(), batch("un deux")
    words = tuple(VOCABULARY(["quatre"])[0])
    outputs = Generation((words,), torch.zeros(1), None)
    cross, encoder, decoder = task.attention_groups(net, outputs, pairs)
    end = VOCABULARY.tokens([VOCABULARY.end])[0]
    assert cross.queries.tokens == decoder.queries.tokens == ("quatre", end)
    assert cross.keys.tokens[1:] == encoder.queries.tokens[1:] == ("un", "deux", end)
    assert decoder.keys.tokens[1:] == ("quatre",)
    with saccade.record(net) as trace, torch.no_grad():
        task.whole_pass(net, outputs, pairs)
    assert {weights.shape[-2:] for path, weights in trace.attention.items() if "cross" in path} == {(2, 4)}


def test_an_unknown_token_is_never_an_exact_match() -> None:
    assert measured(["cinq"], ["cinq"]).exact == 0  # [UNK] both times


def test_texts_are_truncated_and_padded() -> None:
    splits = open_translations("numbers", DataConfig(numbers=NumbersConfig(limit=5000, train=50, val=0, test=0)))
    vocabulary = Vocabulary.train([english(n) for n in range(5000)] + [french(n) for n in range(5000)])
    dataset = TranslationDataset(splits.train, vocabulary, 6)  # type: ignore[arg-type]
    pairs, _ = dataset.collate([dataset[i, ()] for i in range(50)])
    target = pairs.labels["target"]  # type: ignore[index]
    assert target.shape == (50, 6)
    assert pairs.inputs.shape == (50, 6)
    assert (target[:, 0] == vocabulary.begin).all()
    assert ((target == vocabulary.end).sum(1) == 1).all()
    assert ((pairs.inputs == vocabulary.end).sum(1) == 1).all()


def test_evaluation_reads_the_first_caption_of_an_image_and_training_any() -> None:
    captions = ("un", "deux", "trois")

    class Source:
        names = ("a",)

        def __len__(self) -> int:
            return 1

        def with_captions(self, index: int, channels: int) -> CaptionedImage:
            return CaptionedImage(torch.zeros(channels, 8, 8), captions)

    dataset = ImageTextDataset(Source(), EvalTransform(Preprocessing((8, 8))), VOCABULARY, 4)  # type: ignore[arg-type]
    texts = [VOCABULARY.tokens(dataset[0, key].target.tolist())[1] for key in ((), *((n,) for n in range(20)))]
    assert texts[0] == "un"
    assert set(texts) == set(captions)


def test_references_longer_than_the_context_are_compared_whole() -> None:
    """A model that generates the first five words of a six-word reference is not right, and its BLEU is that of five
    words of six."""
    source = SimpleNamespace(
        pair=lambda index: Translation("un", "un deux trois quatre un deux" if index else "un deux"), names=("0", "1")
    )
    dataset = TranslationDataset(source, VOCABULARY, 7)  # type: ignore[arg-type]
    pairs, _ = dataset.collate([dataset[i, ()] for i in range(2)])
    task = Seq2SeqTask(VOCABULARY, max_length=7)
    generated = tuple(tuple(VOCABULARY([text])[0]) for text in ("un deux", "un deux trois quatre un"))
    logits = torch.zeros(2, 6, VOCABULARY.size)
    metrics = task.measure(
        Collected(task.collect(Generation(generated, torch.zeros(len(generated)), logits), pairs), pairs.names)
    )
    assert (metrics.exact, metrics.truncated) == (0.5, 1)
    texts = ["un deux", "un deux trois quatre un"]
    expected = sacrebleu.corpus_bleu(texts, [["un deux", "un deux trois quatre un deux"]])
    assert metrics.bleu == pytest.approx(expected.score)
    assert metrics.bleu < 100
    assert "1 of 2 references" in metrics.warning
    assert metrics.loss == pytest.approx(math.log(VOCABULARY.size), rel=1e-5)
    assert measured(["un"], ["un"]).warning == ""


def test_a_model_without_a_vocabulary_names_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="no vocabulary"):
        Seq2SeqTask(None).input_batch(["one"], [()], ["one"])  # type: ignore[list-item]


@pytest.mark.parametrize(("architecture", "task"), [("seq2seq", "seq2seq"), ("bert", "masked_lm")])
def test_an_old_text_model_opens_without_a_vocabulary(tmp_path: Path, architecture: str, task: str) -> None:
    """Before 0.2 the task of a translator, or of a BERT without heads, was "text"."""
    net = model() if architecture == "seq2seq" else Bert(BertConfig(BLOCK, 1, 50, 8))
    save_model_dir(tmp_path / "model", LoadedModel(net, architecture, (), None, "text"))
    predictor = saccade.load(tmp_path / "model")
    assert predictor.task.name == task
    with pytest.raises(ConfigError, match="no vocabulary"):
        predictor.predict("one")


def test_the_best_checkpoint_has_the_most_exact_matches_and_then_the_best_chrf() -> None:
    assert Seq2SeqMetrics(1.0, 0.25, 30.0, 50.0, 4).selection == 0.75
