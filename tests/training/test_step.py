"""One optimizer step: what it draws at random, and what it does to parameters with a range."""

import math
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
        return LossTerms({"loss": LossTerm(self.loss(model, batch.inputs), "inputs")})


def batch_of(count: int) -> Batch:
    return Batch(torch.ones(count, 64), torch.zeros(count), tuple(str(n) for n in range(count)), torch.arange(count))


def take_steps(model: nn.Module, loss, numbers: list[int], *, rank: int = 0, count: int = 4, **options) -> list[float]:
    """The losses of the steps with these numbers."""
    config = RunConfig(batch_size=count, **options)
    setup = TrainingSetup(LoadedModel(model, "", (), None, "own"), ByLoss(loss), train=None)  # type: ignore[arg-type]
    order = TrainOrder(count, count, 0, 1, 0, 1)
    processes = Processes(rank, 1, torch.device("cpu"))
    plan = TrainingPlan(setup, order, len(numbers), 0, "float32")
    step = TrainStep(config, plan, processes, Path(), lambda name: torch.autograd.profiler.record_function(name))
    optimizer = make_optimizer(model, config.optimizer)
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
