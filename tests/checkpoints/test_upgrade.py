"""Model directories and run checkpoints of earlier versions keep opening, and compute what they computed.

`old_models` holds one tiny model directory of each architecture whose tensors have been renamed or cut since; the
fingerprint in each is the output of the version that wrote it, which opening a directory compares.
"""

from pathlib import Path

import pytest
import torch
from torch import nn

import saccade
from saccade.checkpoints.loading import load_model
from saccade.checkpoints.reading import read_tensors
from saccade.checkpoints.upgrade import upgrade
from saccade.training.state import load_state, state_tensors

OLD = sorted(path for path in (Path(__file__).parent / "old_models").iterdir() if path.is_dir())


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.name)
def test_an_old_model_directory_opens_and_computes_the_same(path: Path) -> None:
    loaded = load_model(path)
    old, new = read_tensors(path / "model.safetensors").tensors, loaded.model.state_dict()
    assert set(old) != set(new), "this directory has nothing to upgrade"
    assert not loaded.report.new
    assert not loaded.report.unused
    assert sum(t.numel() for t in old.values()) == sum(t.numel() for t in new.values())


def test_tensors_of_this_version_stay_as_they_are() -> None:
    state = saccade.create("detr_small").state_dict()
    assert upgrade(saccade.create("detr_small"), state) == state


def test_a_run_checkpoint_with_packed_projections_resumes() -> None:
    """Weights, the optimizer's moments and the running mean of a DETR whose q, k and v were rows of one matrix."""
    options = {"block.embed_dim": 16, "block.num_heads": 2, "encoder_depth": 1, "decoder_depth": 1}
    model = saccade.create("detr_small", image_size=32, options=options)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    files = state_tensors(model, optimizer, None)
    old = {kind: dict(tensors) for kind, tensors in files.items()}
    packed = 0
    for kind, tensors in files.items():
        for name in tensors:
            head, _, tail = name.partition(".q.")
            if not tail or "attn" not in head:
                continue
            parts = [old[kind].pop(f"{head}.{part}.{tail}") for part in "qkv"]
            old[kind][f"{head}.qkv.{tail}"] = torch.cat(parts) if parts[0].ndim else parts[0]
            packed += 1
    assert packed == 3 * 2 * (1 + 3)  # three attentions, weight and bias: the parameter, two moments and a step count
    other = saccade.create("detr_small", image_size=32, options=options)
    resumed = torch.optim.AdamW(other.parameters())
    load_state(old, other, resumed, None)
    for kind, tensors in state_tensors(other, resumed, None).items():
        assert tensors.keys() == files[kind].keys()
        assert all(torch.equal(tensors[name], files[kind][name]) for name in tensors), kind


@pytest.mark.parametrize("name", ["seq2seq_small", "bert_small", "perceiver_text_small"])
def test_a_tied_table_is_stored_once_and_stays_tied(name: str) -> None:
    model = saccade.create(name)
    embedding = model.token_embed.weight
    (tied,) = (m for m in model.modules() if isinstance(m, nn.Linear) and m.weight is embedding)
    state = model.state_dict()
    assert sum(tensor.data_ptr() == embedding.data_ptr() for tensor in state.values()) == 1
    other = saccade.create(name)
    assert not any(other.load_state_dict(state))
    other.double().float()
    (again,) = (m for m in other.modules() if isinstance(m, type(tied)))
    assert again.weight is other.token_embed.weight
    assert torch.equal(again.weight, embedding)
