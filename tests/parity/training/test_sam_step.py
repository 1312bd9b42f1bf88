"""A step of SAM and of ASAM as training takes it, against the papers' formulas, for a batch whole and in parts."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import TrainOrder
from saccade.data.samples import Batch
from saccade.engine.setup import TrainingSetup
from saccade.tasks.classification.task import ClassificationTask
from saccade.training.config import OptimizerConfig, RunConfig, SAMConfig
from saccade.training.distributed import Processes
from saccade.training.interrupt import StopRequest
from saccade.training.plan import TrainingPlan
from saccade.training.step import TrainStep

LABELS, COUNT, LR = tuple("abc"), 8, 0.1


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.GELU(), nn.Linear(16, len(LABELS))).double()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(COUNT, 3, 2, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(len(LABELS), (COUNT,), generator=generator)
    return Batch(images, labels, ("",) * COUNT, torch.arange(COUNT))


def expected_steps(rho: float, adaptive: bool, count: int) -> list[torch.Tensor]:
    """Foret et al., arXiv 2010.01412, equation 2 with p = 2 and algorithm 1; Kwon et al., arXiv 2102.11600, equation 4
    with T_w = diag(|w|): e = ρ T_w² g / ‖T_w g‖, then w ← w - lr · gradient(w + e)."""
    net = network()
    shapes = {name: p.shape for name, p in net.named_parameters()}
    w = torch.cat([p.detach().flatten() for p in net.parameters()])
    inputs, labels = batch().inputs, batch().classes

    def gradient(flat: torch.Tensor) -> torch.Tensor:
        flat = flat.clone().requires_grad_()
        pieces = flat.split([shape.numel() for shape in shapes.values()])
        weights = {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces)}
        loss = F.cross_entropy(torch.func.functional_call(net, weights, (inputs,)).float(), labels)
        return torch.autograd.grad(loss, flat)[0]

    trajectory = []
    for _ in range(count):
        g, scale = gradient(w), w.abs() if adaptive else torch.ones_like(w)
        w = w - LR * gradient(w + rho * scale**2 * g / (scale * g).norm())
        trajectory.append(w)
    return trajectory


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(("rho", "adaptive"), [(0.05, False), (0.5, False), (0.5, True), (2.0, True)])
def test_three_steps(rho: float, adaptive: bool, accumulation: int) -> None:
    model, task = network(), ClassificationTask(LABELS)
    sam, unclipped = SAMConfig(rho=rho, adaptive=adaptive), OptimizerConfig(clip_norm=0.0)
    config = RunConfig(batch_size=COUNT, sam=sam, accumulation=accumulation, optimizer=unclipped)
    setup = TrainingSetup(LoadedModel(model, "", LABELS, None, "own"), task, train=None)  # type: ignore[arg-type]
    plan = TrainingPlan(setup, TrainOrder(COUNT, COUNT, 0, 1, 0, 1), 3, 0, "float32")
    processes = Processes(0, 1, torch.device("cpu"))
    step = TrainStep(config, plan, processes, Path(), lambda name: torch.autograd.profiler.record_function(name))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    plain, sharp = expected_steps(0.0, False, 3), expected_steps(rho, adaptive, 3)
    with StopRequest() as stop:
        for number, expected in enumerate(sharp):
            step(model, optimizer, batch(), number, stop)
            actual = torch.cat([p.detach().flatten() for p in model.parameters()])
            torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-6)
    assert (sharp[-1] - plain[-1]).norm() > 0.01 * (plain[-1] - start).norm()  # the perturbation has an effect
