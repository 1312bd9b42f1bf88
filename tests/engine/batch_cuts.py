"""A loss must not depend on how a batch is cut: three steps of a task with the batch whole, in parts, and in two
processes, through the very step that training takes."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import TrainOrder
from saccade.data.samples import Batch
from saccade.engine.setup import TrainingSetup, Unchanged
from saccade.engine.task import Task
from saccade.training.config import OptimizerConfig, RunConfig
from saccade.training.distributed import Processes, unwrapped, wrap
from saccade.training.interrupt import StopRequest
from saccade.training.optimizers import freeze_untrained, make_optimizer
from saccade.training.plan import TrainingPlan
from saccade.training.step import TrainStep

STEPS = 3


class Case(NamedTuple):
    """A model in training mode, its task, and a batch of 8 inputs whose quarters hold unequal numbers of targets."""

    model: nn.Module
    task: Task
    batch: Batch
    transform: object = Unchanged()  # of whole batches


class Outcome(NamedTuple):
    losses: list[float]
    gradients: dict[str, Tensor]  # of the first step
    weights: dict[str, Tensor]  # after the last


MakeCase = Callable[[], Case]  # a function of a module, so that another process can import it; seeds what it draws


def take_steps(make_case: MakeCase, accumulation: int, processes: Processes) -> Outcome:
    """Three steps on the same batch, of which this process has its rows."""
    torch.set_num_threads(1)
    model, task, batch, transform = make_case()
    freeze_untrained(model, OptimizerConfig())
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.Dropout):
            module.eval()  # their result depends on the cut by definition
    start = LoadedModel(model, "", task.labels, None, task.name)  # type: ignore[arg-type]
    setup = TrainingSetup(start, task, train=None, transform=transform)  # type: ignore[arg-type]
    order = TrainOrder(len(batch.names), len(batch.names), 0, 1, processes.rank, processes.world)
    plan = TrainingPlan(setup, order, STEPS, 0, "float32")
    optimizer_config = OptimizerConfig(lr=1e-3, eps=1e-3, clip_norm=0.0)  # no division by tiny second moments
    config = RunConfig(batch_size=len(batch.names), accumulation=accumulation, optimizer=optimizer_config)
    step = TrainStep(config, plan, processes, Path(), lambda name: torch.autograd.profiler.record_function(name))
    network = wrap(model, processes, shard=False)
    optimizer = make_optimizer(model, optimizer_config)
    losses, gradients = [], {}
    for number in range(STEPS):
        with StopRequest() as stop:
            losses.append(step(network, optimizer, batch.rows(order.rows), number, stop).loss)
        if not number:
            named = unwrapped(network).named_parameters()
            gradients = {n: p.grad.clone() for n, p in named if p.grad is not None}
    return Outcome(losses, gradients, {n: p.detach().clone() for n, p in model.named_parameters()})


def _process(rank: int, world: int, port: int, make_case: MakeCase, accumulation: int, path: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=world)
    outcome = take_steps(make_case, accumulation, Processes(rank, world, torch.device("cpu")))
    if rank == 0:
        torch.save(tuple(outcome), path)
    dist.destroy_process_group()


def start_two(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Call a function with its rank and the arguments in two processes: forks of one that has imported PyTorch."""
    multiprocessing.set_forkserver_preload([__name__])
    mp.start_processes(function, arguments, nprocs=2, start_method="forkserver")


def _as_torchrun(rank: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    function(*arguments)


def start_as_torchrun(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in two processes that have the variables that torchrun sets; an error in one is raised here."""
    start_two(_as_torchrun, (free_port(), function, arguments))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def two_processes(make_case: MakeCase, folder: Path, accumulation: int = 1) -> Outcome:
    path = folder / "outcome.pt"
    start_two(_process, (2, free_port(), make_case, accumulation, str(path)))
    return Outcome(*torch.load(path, weights_only=True))


def check_cuts(
    make_case: MakeCase,
    folder: Path,
    *,
    accumulations: tuple[int, ...] = (2, 4),
    in_two_processes: tuple[int, ...] = (1,),
) -> None:
    """The loss, the gradient and the weights after three steps are those of the whole batch but for rounding.

    Sums in another order differ by roundings of their terms, on each processor by others: 9 of the largest value at
    most on those tried. A count of a part in the place of that of the batch changes more than the second digit.

    Args:
        accumulations: of one process.
        in_two_processes: the same for each of two processes.
    """
    alone = Processes(0, 1, torch.device("cpu"))
    whole = take_steps(make_case, 1, alone)
    others = {f"accumulation {a}": take_steps(make_case, a, alone) for a in accumulations}
    for a in in_two_processes:
        others[f"two processes, accumulation {a}"] = two_processes(make_case, folder, a)
    for name, other in others.items():
        assert other.losses == pytest.approx(whole.losses, rel=1e-6, abs=1e-6), name
        for kind in ("gradients", "weights"):
            expected, actual = getattr(whole, kind), getattr(other, kind)
            assert expected.keys() == actual.keys(), name
            for parameter, tensor in expected.items():
                scale = max(1.0, tensor.abs().max().item())
                torch.testing.assert_close(
                    actual[parameter],
                    tensor,
                    rtol=0,
                    atol=16 * torch.finfo(torch.float32).eps * scale,
                    msg=lambda m, p=parameter, n=name: f"{n} {p}: {m}",
                )
