"""BERT against Hugging Face's: hidden states, heads, attention weights, parameters; texts of different lengths."""

from pathlib import Path
from typing import Any

import pytest
import torch

import saccade
from saccade.checkpoints.convert import convert
from saccade.checkpoints.directory import LoadedModel, read_model_dir, save_model_dir
from saccade.checkpoints.loading import load_model
from saccade.errors import ConfigError
from saccade.models.bert import Bert, BertConfig
from saccade.nn.transformer import BlockConfig
from tests.parity.cases import randomised

SMALL = {
    "vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 20,
}  # fmt: skip
TOKENS = torch.tensor([[2, 5, 9, 11, 3, 0, 0], [2, 7, 80, 3, 61, 12, 3]])
TYPES = torch.tensor([[0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1]])
VALID = torch.tensor([[True] * 5 + [False] * 2, [True] * 7])


def transformers() -> Any:
    """The library, imported when a test needs it: that takes longer than collecting all tests of this file."""
    return pytest.importorskip("transformers")


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def official(kind: str, folder: Path):
    torch.manual_seed(0)
    model = randomised(getattr(transformers(), kind)(transformers().BertConfig(**SMALL, attn_implementation="eager")))
    model.save_pretrained(folder)
    return model


@torch.no_grad()
@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForPreTraining"])
def test_outputs_and_attention(kind: str, tmp_path: Path) -> None:
    theirs = official(kind, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.architecture == "bert"
    assert not loaded.report.new
    assert not loaded.report.unused
    asked = {"input_ids": TOKENS, "token_type_ids": TYPES, "attention_mask": VALID.long()}
    said = theirs(**asked, output_hidden_states=True, output_attentions=True)
    with saccade.record(loaded.model) as trace:
        found = loaded.model(TOKENS, TYPES, VALID)
    close(found.hidden[VALID], said.hidden_states[-1][VALID])
    for weights, expected in zip(trace.attention.values(), said.attentions, strict=True):
        torch.testing.assert_close(weights[0], expected[0], atol=1e-5, rtol=1e-4)
    if kind == "BertModel":
        close(found.pooled, said.pooler_output)
        assert found.logits is None
    else:
        words = said.logits if kind == "BertForMaskedLM" else said.prediction_logits
        close(found.logits[VALID], words[VALID])
    if kind == "BertForPreTraining":
        close(found.follows, said.seq_relationship_logits)


def test_base_has_its_size() -> None:
    with torch.device("meta"):
        net = saccade.create("bert_base")
        theirs = transformers().BertModel(transformers().BertConfig())
    count = sum(p.numel() for p in net.parameters())
    assert count == 109_482_240 == sum(p.numel() for p in theirs.parameters())


def test_old_names_of_norms(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    official("BertModel", tmp_path)
    file = tmp_path / "model.safetensors"
    old = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for n, t in load_file(file).items()
    }
    expected = load_model(tmp_path).model.state_dict()
    save_file(old, file, {"format": "pt"})
    found = load_model(tmp_path).model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    net = Bert(BertConfig(BlockConfig(16, 2, 32, "post"), 2, 50, 12, masked_lm=True)).eval()
    alone = net(TOKENS[:1, :5]).logits
    padded = net(TOKENS[:1], valid=VALID[:1]).logits
    torch.testing.assert_close(alone, padded[:, :5], atol=1e-5, rtol=1e-5)


def test_a_model_directory_holds_it(tmp_path: Path) -> None:
    net = Bert(BertConfig(BlockConfig(16, 2, 32, "post"), 1, 50, 12)).eval()
    save_model_dir(tmp_path / "bert", LoadedModel(net, "bert", (), None, "text"))
    back = read_model_dir(tmp_path / "bert").model
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), back.state_dict().values(), strict=True))
    with pytest.raises(ConfigError, match="pooler"):
        saccade.create("bert_base", options={"pooler": False, "next_sentence": True})


@torch.no_grad()
@pytest.mark.parametrize("next_sentence", [False, True])
def test_there_and_back(next_sentence: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"depth": 1, "vocab_size": 90, "next_sentence": next_sentence}
    net = randomised(saccade.create("bert_small", options=options))
    save_model_dir(tmp_path / "ours", LoadedModel(net, "bert", (), None, "words"))
    convert(tmp_path / "ours", tmp_path / "theirs", to="huggingface")
    kind = "BertForPreTraining" if next_sentence else "BertForMaskedLM"
    model = getattr(transformers(), kind).from_pretrained(tmp_path / "theirs").eval()
    said = model(input_ids=TOKENS, token_type_ids=TYPES, attention_mask=VALID.long())
    found = net(TOKENS, TYPES, VALID)
    close(found.logits[VALID], (said.prediction_logits if next_sentence else said.logits)[VALID])
