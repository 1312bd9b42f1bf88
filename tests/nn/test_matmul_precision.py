"""The precision of float32 matrix products is measured, scoped and reported."""

import pytest
import torch

import saccade
from saccade.nn import matmul_precision as module
from saccade.nn.matmul_precision import choose_matmul_precision, matmul_precision


def test_the_choice_is_exact_and_gives_its_reason() -> None:
    choice = choose_matmul_precision("cpu", saccade.create("vit_digits").eval(), batch_size=2, rounds=1)
    assert choice.precision in module.PRECISIONS
    assert "[2, 17, 64]" in choice.reason
    assert "error" in choice.reason


def test_measuring_changes_neither_the_model_nor_random_numbers() -> None:
    net = saccade.create("vit_digits", options={"block.dropout": 0.1}).train()
    before = {name: p.clone() for name, p in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    choose_matmul_precision("cpu", net, batch_size=2, rounds=1)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(before[name], p) for name, p in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_an_inexact_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ERROR", -1.0)
    assert choose_matmul_precision("cpu", rounds=1).precision == "highest"


def test_the_setting_is_scoped() -> None:
    before = torch.get_float32_matmul_precision()
    with matmul_precision("medium"):
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before


def test_a_gpu_keeps_its_default() -> None:
    assert choose_matmul_precision("cuda").precision == "highest"


def test_one_slow_round_of_the_default_is_no_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared machine stalls: four equal rounds and one in which the default waited must leave the default."""
    ticks = {"highest": iter([1.0, 9.0, 1.0]), "high": iter([0.9, 0.9, 0.9]), "medium": iter([2.0, 2.0, 2.0])}
    clock = [0.0]

    def run(block: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        if tokens.dtype == torch.float32 and measuring:
            clock[0] += next(ticks[torch.get_float32_matmul_precision()])
        return torch.ones(1, dtype=tokens.dtype)

    measuring: list[bool] = []
    monkeypatch.setattr(module, "_run", run)
    monkeypatch.setattr(module.time, "perf_counter", lambda: measuring.append(True) or clock[0])
    assert choose_matmul_precision("cpu", rounds=3).precision == "highest"


def test_what_is_measured_is_a_block_among_tokens() -> None:
    """A DETR without an encoder has blocks with a memory only; a Perceiver's inputs are not its tokens."""
    detr = saccade.create("detr_small", options={"encoder_depth": 0})
    assert choose_matmul_precision("cpu", detr, batch_size=1, rounds=1).precision in module.PRECISIONS
    perceiver = saccade.create("perceiver_digits", image_size=224)
    assert "[1, 1024, 96]" in choose_matmul_precision("cpu", perceiver, batch_size=1, rounds=1).reason


def test_a_frozen_model_is_measured_as_well() -> None:
    net = saccade.create("vit_digits").train().requires_grad_(False)
    assert "[2, 17, 64]" in choose_matmul_precision("cpu", net, batch_size=2, rounds=1).reason
    assert not any(p.requires_grad for p in net.parameters())
