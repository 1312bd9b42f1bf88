"""Dropout: another mask in every step, the same one whenever a step is computed again."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.running import train
from tests.training.test_resume import config


def dropout_masks(place: Path, **changes: object) -> list[torch.Tensor]:
    """What a run's first dropout layer sets to zero, forward pass by forward pass, as ``[B, N, D]`` boolean."""
    masks: list[torch.Tensor] = []
    layers: list[nn.Module] = []

    def record(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, nn.Dropout) and module.training and module.p:
            layers.append(module)
            if module is layers[0]:
                masks.append((output == 0) & (inputs[0] != 0))

    handle = nn.modules.module.register_module_forward_hook(record)
    try:
        options = {"depth": 1, "block.embed_dim": 32, "block.mlp_dim": 64}
        chosen = {"model.dropout": 0.5, "model.drop_path": 0.0, "model.options": options, "schedule.steps": 3}
        train(config(**{**chosen, "preflight": False, **changes}), output=place)
    finally:
        handle.remove()
    return masks


def test_every_step_has_other_masks_and_a_repeated_one_the_same(tmp_path: Path) -> None:
    masks = dropout_masks(tmp_path / "a")
    assert len(masks) == 3
    for mask in masks:
        assert mask.float().mean().item() == pytest.approx(0.5, abs=0.05)
    for first in range(3):
        for second in range(first):
            assert (masks[first] != masks[second]).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert all(torch.equal(a, b) for a, b in zip(masks, dropout_masks(tmp_path / "b"), strict=True))
    other = dropout_masks(tmp_path / "c", seed=7)
    assert not torch.equal(masks[0], other[0])


def test_both_gradients_of_a_sharpness_aware_step_have_the_same_masks(tmp_path: Path) -> None:
    masks = dropout_masks(tmp_path / "sam", **{"sam.rho": 0.05})
    assert len(masks) == 6
    for first, second in zip(masks[::2], masks[1::2]):
        assert torch.equal(first, second)
    assert not torch.equal(masks[0], masks[2])


def test_parts_of_a_batch_have_other_masks(tmp_path: Path) -> None:
    masks = dropout_masks(tmp_path / "parts", accumulation=2, **{"schedule.steps": 1})
    assert len(masks) == 2
    assert not torch.equal(*masks)
