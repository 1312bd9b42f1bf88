"""The Perceiver of texts against Hugging Face's, in and out; bytes that are not there are seen by nobody."""

from pathlib import Path
from typing import Any

import pytest
import torch

import saccade
from saccade.checkpoints.convert import convert
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.checkpoints.loading import load_model
from saccade.models.perceiver_text import PerceiverText
from tests.parity.cases import randomised

SMALL = {
    "num_latents": 6, "d_latents": 32, "d_model": 24, "num_blocks": 2, "num_self_attends_per_block": 2,
    "num_self_attention_heads": 4, "num_cross_attention_heads": 4, "qk_channels": 16, "v_channels": 32,
    "vocab_size": 262, "max_position_embeddings": 20,
}  # fmt: skip
TOKENS = torch.tensor([[4, 80, 90, 3, 100, 5, 0, 0], [4, 3, 60, 99, 200, 201, 77, 5]])
VALID = TOKENS != 0


def transformers() -> Any:
    """The library, imported when a test needs it: that takes longer than collecting all tests of this file."""
    return pytest.importorskip("transformers")


@torch.no_grad()
def test_words_and_attention(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = transformers().PerceiverConfig(**SMALL, attn_implementation="eager")
    official = randomised(transformers().PerceiverForMaskedLM(settings))
    official.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    net = loaded.model
    assert isinstance(net, PerceiverText)
    assert not loaded.report.new
    assert not loaded.report.unused
    said = official(input_ids=TOKENS, attention_mask=VALID.long(), output_attentions=True)
    with saccade.record(net) as trace:
        found = net(TOKENS, valid=VALID)
    theirs = said.logits[:, :8]
    assert (found.logits - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    own = [weights for path, weights in trace.attention.items() if path.startswith("latents.blocks")]
    for ours, expected in zip(own, said.attentions, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
    read = trace.attention["latents.read.0.attn"]
    assert not read[0, :, :, 6:].any()
    assert trace.attention["decoder.attn"].shape == (2, 8, 8, 6)  # every byte asks the latents


@torch.no_grad()
def test_there_and_back(tmp_path: Path) -> None:
    net = saccade.create("perceiver_text_small")
    save_model_dir(tmp_path / "ours", LoadedModel(net, "perceiver_text", (), None, "words"))
    convert(tmp_path / "ours", tmp_path / "theirs", to="huggingface")
    official = transformers().PerceiverForMaskedLM.from_pretrained(tmp_path / "theirs").eval()
    theirs = official(input_ids=TOKENS, attention_mask=VALID.long()).logits[:, :8]
    torch.testing.assert_close(net.eval()(TOKENS, valid=VALID).logits, theirs, atol=1e-5, rtol=1e-5)


def test_it_has_its_size() -> None:
    with torch.device("meta"):
        ours = saccade.create("perceiver_text")
        official = transformers().PerceiverForMaskedLM(transformers().PerceiverConfig(qk_channels=256, v_channels=1280))
    assert sum(p.numel() for p in ours.parameters()) == 201_108_230
    assert sum(p.numel() for p in official.parameters()) == 201_108_230
