"""Beam search against `generate` of transformers on the same random Marian: texts, scores, length penalty, stopping."""

from pathlib import Path

import pytest
import torch

from saccade.checkpoints.loading import load_model
from saccade.models.seq2seq import Seq2Seq
from saccade.nn.generation import beam_search
from tests.parity.cases import randomised

END, PAD, LENGTH = 0, 39, 9
SOURCE = torch.tensor([[5, 9, 11, END, PAD, PAD], [7, 3, 4, 8, 6, END], [1, END, PAD, PAD, PAD, PAD]])


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory):
    """transformers' model and ours with its weights. `both` sets the logit of the end."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.MarianConfig(
        vocab_size=40, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=24,
        scale_embedding=True, activation_function="swish", pad_token_id=PAD, eos_token_id=END,
        decoder_start_token_id=PAD, forced_eos_token_id=None,
    )  # fmt: skip
    official = randomised(transformers.MarianMTModel(config))
    official.model.shared.weight.data.mul_(5.0)  # fresh weights give all tokens nearly the same probability
    folder: Path = tmp_path_factory.mktemp("marian")
    official.save_pretrained(folder)
    net = load_model(folder).model
    assert isinstance(net, Seq2Seq)
    return official, net


def both(marian, bias: float, beams: int, penalty: float, early_stopping: bool | str):
    """(ours, theirs): (tokens without the end, score) of each source; `bias` is added to the logit of the end."""
    official, net = marian
    official.final_logits_bias.zero_()[0, END] = bias
    net.output.bias.data.zero_()[END] = bias
    outputs = official.generate(
        input_ids=SOURCE, attention_mask=(SOURCE != PAD).long(), num_beams=beams, max_new_tokens=LENGTH,
        length_penalty=penalty, early_stopping=early_stopping, do_sample=False, return_dict_in_generate=True,
        output_scores=True, forced_eos_token_id=None,
    )  # fmt: skip
    theirs = []
    for row, score in zip(outputs.sequences[:, 1:].tolist(), outputs.sequences_scores.tolist()):
        theirs.append((tuple(row[: row.index(END)] if END in row else row), score))
    ours = beam_search(net, SOURCE, beams, max_length=LENGTH, length_penalty=penalty, early_stopping=early_stopping)
    return [(h.tokens, h.score) for h in ours], theirs


@torch.no_grad()
@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("penalty", [-1.0, 0.0, 0.6, 1.0, 2.0])
def test_texts_and_scores_are_those_of_generate(marian, penalty: float, early_stopping: bool | str) -> None:
    lengths = set()
    for bias in (-8.0, -1.0, -0.5, 0.0, 3.0):
        for beams in (2, 3, 5):
            ours, theirs = both(marian, bias, beams, penalty, early_stopping)
            for (tokens, score), (reference, reference_score) in zip(ours, theirs):
                assert tokens == reference, (bias, beams)
                assert score == pytest.approx(reference_score, abs=1e-4)
                lengths.add(len(tokens))
    assert {0, LENGTH} <= lengths  # ended at once, and never


@torch.no_grad()
def test_an_unfinished_text_competes_with_a_finished_one(marian) -> None:
    """With an improbable end, a text of the greatest length is the better one, though it has no end."""
    ours, theirs = both(marian, -8.0, 3, 1.0, False)
    assert [len(tokens) for tokens, _ in ours] == [LENGTH] * len(SOURCE)
    assert ours[0][0] == theirs[0][0]
