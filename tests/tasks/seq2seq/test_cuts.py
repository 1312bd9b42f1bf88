"""Sequence to sequence: the loss does not depend on how a batch is cut."""

from pathlib import Path

import pytest
import torch

import saccade
from saccade.data.samples import Batch
from saccade.data.text_batches import text_batch
from saccade.data.vocabulary import Vocabulary
from saccade.models.seq2seq import Seq2Seq, Seq2SeqConfig
from saccade.nn.transformer import BlockConfig
from saccade.tasks.seq2seq.batches import TextSample, source_tokens, target_tokens
from saccade.tasks.seq2seq.task import Seq2SeqTask
from tests.engine.batch_cuts import Case, check_cuts

pytest.importorskip("tokenizers")
TARGETS = (
    "un",
    "deux trois",
    "un un un un un un un",
    "trois quatre",
    "quatre",
    "un",
    "deux deux deux trois",
    "quatre un",
)


def make_batch(inputs: torch.Tensor | None = None) -> tuple[Vocabulary, Batch]:
    """Eight pairs whose targets have 2 to 8 tokens, the end included; the quarters have 5, 11, 4 and 8."""
    vocabulary = Vocabulary.train(TARGETS)
    samples = [
        TextSample(source_tokens(vocabulary, text[::-1], 12), target_tokens(vocabulary, text, 12), text, index)
        for index, text in enumerate(TARGETS)
    ]
    sources = torch.nn.utils.rnn.pad_sequence([s.source for s in samples], batch_first=True)
    batch, _ = text_batch(sources if inputs is None else inputs, samples, vocabulary.pad)
    return vocabulary, batch


def texts() -> Case:
    torch.manual_seed(0)
    vocabulary, batch = make_batch()
    block = BlockConfig(16, 2, 32, norm_eps=1e-5)
    config = Seq2SeqConfig(
        block=block, encoder_depth=1, decoder_depth=1, vocab_size=vocabulary.size, context_length=12,
        pad=vocabulary.pad, begin=vocabulary.begin, end=vocabulary.end,
    )  # fmt: skip
    return Case(Seq2Seq(config), Seq2SeqTask(vocabulary, label_smoothing=0.1), batch)


def images() -> Case:
    torch.manual_seed(0)
    vocabulary, batch = make_batch(torch.randn(8, 1, 12, 56, generator=torch.Generator().manual_seed(1)))
    options = {
        "vocab_size": vocabulary.size, "pad": vocabulary.pad, "begin": vocabulary.begin, "end": vocabulary.end,
        "block.dropout": 0.0, "decoder_depth": 1, "backbone_config.depth": 1,
    }  # fmt: skip
    model = saccade.create("image_to_text_strips", options=options)
    return Case(model, Seq2SeqTask(vocabulary, reads_images=True), batch)


def test_texts_of_unequal_length(tmp_path: Path) -> None:
    vocabulary, batch = make_batch()
    counts = [int(Seq2SeqTask(vocabulary).is_token(batch.rows(slice(i, i + 2))).sum()) for i in (0, 2, 4, 6)]
    assert counts == [5, 11, 4, 8]
    check_cuts(texts, tmp_path)


def test_captions_of_images(tmp_path: Path) -> None:
    check_cuts(images, tmp_path)


def test_the_axes_of_attention_have_the_grid_of_the_image() -> None:
    """Of 12 x 56 pixels in patches of 4: 3 rows, 14 columns."""
    case = images()
    one = case.batch.rows(slice(0, 1))
    outputs = case.task.eval_step(case.model, one)
    groups = {group.name: group for group in case.task.attention_groups(case.model, outputs, one)}
    layouts = groups["cross"].keys.layout, groups["self"].queries.layout, groups["self"].keys.layout
    assert [layout and layout.grid for layout in layouts] == [(3, 14)] * 3
    small = {"backbone_config.depth": 1, "backbone_config.num_registers": 1, "decoder_depth": 1}
    with_class_token = saccade.create("image_to_text_ti16", image_size=(32, 48), options=small)
    one = one._replace(inputs=torch.zeros(1, 3, 32, 48))
    cross, own, decoder = case.task.attention_groups(with_class_token, outputs, one)
    layouts = cross.keys.layout, own.queries.layout
    assert [layout and (layout.num_prefix, layout.grid) for layout in layouts] == [(0, (2, 3)), (2, (2, 3))]
    assert own.queries.tokens == ("CLS", "REG 1")
    assert [group.name for group in (cross, own, decoder)] == ["cross", "self", "decoder"]
