"""Masked language modelling: the loss does not depend on how a batch is cut."""

from pathlib import Path

import pytest
import torch

from saccade.data.samples import Batch
from saccade.data.vocabulary import Vocabulary
from saccade.models.bert import Bert, BertConfig
from saccade.nn.transformer import BlockConfig
from saccade.tasks.masked_lm.batches import IGNORE_INDEX
from saccade.tasks.masked_lm.setup import freeze_unused
from saccade.tasks.masked_lm.task import MaskedLMTask
from tests.engine.batch_cuts import Case, check_cuts

pytest.importorskip("tokenizers")
MASKED = (0, 0, 1, 5, 2, 0, 3, 1)  # masked tokens of each text: the first quarter has none


def make_case(*, pairs: bool) -> Case:
    torch.manual_seed(0)
    vocabulary = Vocabulary.train(["one two three four five six"])
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(len(vocabulary.special), vocabulary.size, (8, 7), generator=generator)
    target = torch.full_like(tokens, IGNORE_INDEX)
    for row, count in enumerate(MASKED):
        target[row, 1 : 1 + count] = tokens[row, 1 : 1 + count]
    inputs = torch.where(target == IGNORE_INDEX, tokens, vocabulary.mask)
    inputs[4:, 6] = vocabulary.pad
    labels = {"target": target, "types": torch.tensor([0, 0, 0, 0, 1, 1, 1]).expand(8, -1).clone()}
    if pairs:
        labels["follows"] = torch.tensor([0, 1, 1, 1, 0, 0, 1, 0])
    block = BlockConfig(16, 2, 32, "post", 1e-12)
    model = Bert(BertConfig(block, 1, vocabulary.size, 8, masked_lm=True, next_sentence=pairs))
    freeze_unused(model)
    return Case(model, MaskedLMTask(vocabulary), Batch(inputs, labels, tuple("abcdefgh"), torch.arange(8)))


def texts() -> Case:
    return make_case(pairs=False)


def sentence_pairs() -> Case:
    return make_case(pairs=True)


def test_masked_tokens(tmp_path: Path) -> None:
    check_cuts(texts, tmp_path)


def test_next_sentence_prediction(tmp_path: Path) -> None:
    check_cuts(sentence_pairs, tmp_path)
