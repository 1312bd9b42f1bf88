"""torch.compile as an option: what it says, what it leaves alone, and a run with it."""

from functools import partialmethod

import pytest
import torch
from torch import nn

import saccade
from saccade.data.own import OwnDataset
from saccade.engine.setup import TrainingSetup, own_model
from saccade.errors import ConfigError
from saccade.tasks.classification.task import ClassificationTask
from saccade.training.compilation import compile_in_place, payback, require_compiler
from saccade.training.config import resolve
from saccade.training.events import StepDone
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


def test_a_compiled_run_has_the_losses_of_a_plain_one_and_says_what_it_cost(tmp_path, monkeypatch) -> None:
    """With the backend that runs the traced graphs as they are: building C++ takes a minute."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    images, labels = [(torch.randn(1, 8, 8), index % 10) for index in range(16)], tuple("0123456789")
    losses: dict[bool, list[float]] = {False: [], True: []}
    lines: list[str] = []
    for compiles in (False, True):
        torch.manual_seed(0)
        model = saccade.create("vit_digits", options={"depth": 2, "drop_path": 0.2})
        setup = TrainingSetup(own_model(model, labels), ClassificationTask(labels), OwnDataset(images))
        options = {"batch_size": 8, "schedule.steps": 3, "preflight": False, "data.workers": 0, "compile": compiles}

        def on_event(event: object, own: list[float] = losses[compiles]) -> None:
            if isinstance(event, StepDone):
                own.append(event.loss)
            lines.append(getattr(event, "text", ""))

        config = resolve("digits", overrides=options)
        saccade.train(setup, config, output=tmp_path / str(compiles), on_event=on_event)
    assert losses[True] == pytest.approx(losses[False], abs=1e-6)
    assert sum("compiled in" in line for line in lines) == 1
