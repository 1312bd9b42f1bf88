"""torch.compile as an option: what it says, what it leaves alone, and a run with it."""

import pytest
import torch
from torch import nn

from saccade.errors import ConfigError
from saccade.training.compilation import compile_in_place, payback, require_compiler
from saccade.training.config import resolve
from tests.running import train

SHORT = {"schedule.steps": 2, "preflight": False, "data.check": "off", "batch_size": 8}


def test_it_pays_when_the_seconds_saved_exceed_those_of_compiling() -> None:
    assert "pays after 301 steps; this run takes 1000" in payback(30.0, 0.3, 0.2, 1000)
    assert "does not pay" in payback(30.0, 0.2, 0.2, 1000)
    assert "does not pay" in payback(30.0, 0.2, 0.3, 1000)


def test_weights_buffers_and_gradients_are_those_of_before(monkeypatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    text = compile_in_place(model, lambda: model(torch.randn(8, 4)).square().sum().backward(), 10)
    assert "instead of" in text
    assert compiled == [model]
    assert all(torch.equal(tensor, start[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_machine_without_a_compiler_is_named(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match="this machine has no compiler"):
        require_compiler()


@pytest.mark.parametrize("other", ["shard", "activation_checkpointing"])
def test_what_it_cannot_be_combined_with_is_refused(other: str, tmp_path) -> None:
    with pytest.raises(ConfigError, match=f"compile and {other}"):
        train(resolve("digits", overrides={**SHORT, "compile": True, other: True}), output=tmp_path / "run")


@pytest.mark.slow
def test_a_compiled_run_has_the_losses_of_a_plain_one(tmp_path) -> None:
    losses, lines = [], []
    options = {**SHORT, "model.options": {"depth": 1}}

    def on_event(event: object) -> None:
        lines.append(getattr(event, "text", ""))
        losses.append(getattr(event, "loss", None))

    for compile in (False, True):
        config = resolve("digits", overrides={**options, "compile": compile})
        train(config, output=tmp_path / str(compile), on_event=on_event)
    plain, compiled = (losses_of for losses_of in zip(*[iter([x for x in losses if x is not None])] * 2))
    assert compiled == pytest.approx(plain, abs=1e-5)
    assert sum("compiled in" in line for line in lines) == 1
