"""One optimizer step: what it draws at random, and what it does to parameters with a range."""

import math
import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import TrainOrder
from saccade.data.samples import Batch
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import IndependentParts, LossTerm, LossTerms
from saccade.errors import TrainingError
from saccade.training.config import OptimizerConfig, RunConfig, SAMConfig
from saccade.training.distributed import Processes
from saccade.training.interrupt import StopRequest
from saccade.training.optimizers import make_optimizer
from saccade.training.plan import TrainingPlan
from saccade.training.step import TrainStep


class ByLoss(IndependentParts):
    """A task whose loss is a function of the model, for each input the same."""

    name, labels, class_targets, smallest_loss = "own", (), (), 0.0

    def __init__(self, loss):
        self.loss = loss

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"inputs": torch.tensor(len(batch.names))}

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        metrics = {
            name: LossTerm(scale * batch.indices.sum(), "inputs") for name, scale in (("place", 1), ("twice", 2))
        }
        return LossTerms({"loss": LossTerm(self.loss(model, batch.inputs), "inputs")}, metrics)


def batch_of(count: int) -> Batch:
    return Batch(torch.ones(count, 64), torch.zeros(count), tuple(str(n) for n in range(count)), torch.arange(count))


class EqualProcesses(Processes):
    """Processes that all have the batch of the first one."""

    def total(self, values: Tensor) -> Tensor:
        return values * self.world


def make_step(model: nn.Module, loss, processes: Processes, *, count: int = 4, **options) -> TrainStep:
    config = RunConfig(batch_size=count, **options)
    setup = TrainingSetup(LoadedModel(model, "", (), None, "own"), ByLoss(loss), train=None)  # type: ignore[arg-type]
    plan = TrainingPlan(setup, TrainOrder(count, count, 0, 1, 0, 1), 10, 0, "float32")
    return TrainStep(config, plan, processes, Path(), lambda name: torch.autograd.profiler.record_function(name))


def take_steps(model: nn.Module, loss, numbers: list[int], *, rank: int = 0, count: int = 4, **options) -> list[float]:
    """The losses of the steps with these numbers."""
    step = make_step(model, loss, Processes(rank, 1, torch.device("cpu")), count=count, **options)
    optimizer = make_optimizer(model, step.config.optimizer)
    with StopRequest() as stop:
        return [step(model, optimizer, batch_of(count), number, stop).loss for number in numbers]


def dropped(model: nn.Module, inputs: Tensor) -> Tensor:
    return (model(inputs) * torch.arange(64)).sum()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_dropout_changes_with_the_step_and_the_process_and_is_the_same_for_the_same_step(accumulation: int) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5))
    frozen = OptimizerConfig(lr=1e-30, weight_decay=0.0)
    first, again, second, third = take_steps(model, dropped, [0, 0, 1, 2], optimizer=frozen, accumulation=accumulation)
    assert first == again
    assert len({first, second, third}) == 3
    (resumed,) = take_steps(model, dropped, [1], optimizer=frozen, accumulation=accumulation)
    assert resumed == second
    (other,) = take_steps(model, dropped, [1], optimizer=frozen, accumulation=accumulation, rank=1)
    assert other != second
    (reseeded,) = take_steps(model, dropped, [1], optimizer=frozen, accumulation=accumulation, seed=1)
    assert reseeded != second


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_gradient_and_metrics_are_those_of_the_whole_batch(
    accumulation: int, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean over the inputs of all processes, whose gradients DDP averages once, after the last part."""
    synced = []

    def without_sync(model: nn.Module, *, last: bool) -> AbstractContextManager:
        synced.append(last)
        return nullcontext()

    monkeypatch.setattr("saccade.training.step.without_sync", without_sync)
    model = nn.Linear(64, 1)
    nn.init.constant_(model.weight, 0.5)
    nn.init.zeros_(model.bias)
    processes = EqualProcesses(0, world, torch.device("cpu"))
    step = make_step(
        model, lambda model, inputs: model(inputs).sum(), processes, accumulation=accumulation,
        optimizer=OptimizerConfig(clip_norm=0.0),
    )  # fmt: skip
    run = step.gradients(model, batch_of(4), 0)
    for _ in range(2):
        gradients = run()
        assert gradients.loss.item() == 32 / world  # of one process: half of it in each of two
        assert model.weight.grad is not None
        assert torch.equal(model.weight.grad, torch.ones(1, 64))
        assert {name: total.item() for name, total in gradients.totals.items()} == {"place": 6, "twice": 12}
    assert synced == 2 * [*[False] * (accumulation - 1), True]
    with StopRequest() as stop:
        stop.signal = signal.SIGTERM
        result = step(model, make_optimizer(model, step.config.optimizer), batch_of(4), 0, stop)
    assert result.loss == 32
    assert result.metrics == {"place": (6 * world, 4 * world), "twice": (12 * world, 4 * world)}
    assert result.stop_signal == signal.SIGTERM


def test_what_the_loss_of_a_step_does_not_reach_stays_as_it_is() -> None:
    """Also with the moments of earlier steps, and with weight decay."""
    model = nn.ModuleList([nn.Linear(64, 1), nn.Linear(64, 1)])
    options = OptimizerConfig(lr=0.1, weight_decay=0.5)
    step = make_step(
        model, lambda model, inputs: sum(layer(inputs).sum() for layer in model[: len(used)]),
        Processes(0, 1, torch.device("cpu")), optimizer=options,
    )  # fmt: skip
    optimizer = make_optimizer(model, options)
    with StopRequest() as stop:
        used = model
        step(model, optimizer, batch_of(4), 0, stop)
        used, before = model[:1], [layer.weight.detach().clone() for layer in model]
        step(model, optimizer, batch_of(4), 1, stop)
    assert [torch.equal(layer.weight, weight) for layer, weight in zip(model, before)] == [False, True]


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (lambda model, inputs: model(inputs).sum() + torch.inf, "the loss became inf at step 3"),
        (lambda model, inputs: model(0 * inputs).sqrt().sum(), "the gradient became nan at step 3"),
    ],
)
def test_a_step_that_is_not_finite_updates_nothing(loss, text: str, tmp_path: Path, monkeypatch) -> None:
    """An infinite loss with a finite gradient, and a finite loss whose gradient is NaN."""
    monkeypatch.chdir(tmp_path)
    model = nn.Linear(64, 1)
    nn.init.zeros_(model.bias)
    before = model.weight.detach().clone()
    with pytest.raises(TrainingError, match=text):
        take_steps(model, loss, [3])
    assert torch.equal(model.weight, before)
    assert not model.bias.any()


def test_parts_of_a_batch_have_masks_of_their_own() -> None:
    model, seen = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5)), []

    def loss(model: nn.Module, inputs: Tensor) -> Tensor:
        out = model(inputs)
        seen.append(out.detach() == 0)
        return out.sum()

    take_steps(model, loss, [0], accumulation=2)
    assert not torch.equal(*seen)


def test_both_gradients_of_a_sharpness_aware_step_have_the_same_masks() -> None:
    model, seen = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5)), []

    def loss(model: nn.Module, inputs: Tensor) -> Tensor:
        out = model(inputs)
        seen.append(out.detach() == 0)
        return out.sum()

    take_steps(model, loss, [0, 1], sam=SAMConfig(rho=0.05))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[0], seen[2])


def test_the_scale_of_a_clip_is_clamped_after_the_step_and_comes_back() -> None:
    """As open_clip: a clamp in the forward pass would leave it at the limit, without a gradient."""
    model = saccade.create("clip_small")
    with torch.no_grad():
        model.logit_scale.fill_(math.log(100) - 0.05)
    config = OptimizerConfig(lr=0.1, weight_decay=0.0, clip_norm=0.0)
    take_steps(model, lambda model, inputs: -model.logit_scale.exp(), [0, 1], optimizer=config)
    assert model.logit_scale.item() == pytest.approx(math.log(100))
    take_steps(model, lambda model, inputs: model.logit_scale.exp(), [2], optimizer=config)
    assert model.logit_scale.item() == pytest.approx(math.log(100) - 0.1, abs=1e-3)
    with torch.no_grad():
        model.logit_scale.fill_(0.05)
    take_steps(model, lambda model, inputs: model.logit_scale.exp(), [3, 4], optimizer=config)
    assert model.logit_scale.item() == 0.0


def test_the_gradient_of_a_scale_beyond_the_limit_brings_it_back() -> None:
    model = saccade.create("clip_small", image_size=32)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(200))
    images, tokens = model.example_inputs(2)
    model(images, tokens).scale.backward()
    assert model.logit_scale.grad == pytest.approx(200, rel=1e-5)
