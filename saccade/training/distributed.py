"""One process or several: `torchrun --nproc-per-node 2 -m saccade train …` gives each its rank by the environment."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from saccade.engine.predictor import choose_device
from saccade.nn.transformer import Block


@dataclass(frozen=True)
class Processes:
    """Rank, number of processes, and the device of this process."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """The objects of all processes, ordered by rank, in each of them."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def broadcast_from_rank0(self, value: Any) -> Any:
        """The value of the first process, in each of them."""
        if self.world == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder, src=0)
        return holder[0]


@contextmanager
def joined_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun started; a single process otherwise."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    place = training_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world == 1:
        yield Processes(0, 1, place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, place)
    finally:
        dist.destroy_process_group()


def training_device(device: str, local_rank: int) -> torch.device:
    """The device of one of several processes on a machine: "cuda" is the GPU of its local rank."""
    place = choose_device(device)
    return torch.device("cuda", local_rank) if place.type == "cuda" and place.index is None else place


def wrap(model: nn.Module, processes: Processes, *, shard: bool) -> nn.Module:
    """The model wrapped for distributed training: replicated (DDP) or sharded (FSDP2)."""
    if processes.world == 1:
        return model
    if not shard:
        ids = [processes.device.index] if processes.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module)
    fully_shard(model)  # in place
    return model


def unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model


def without_sync(model: nn.Module, *, last: bool) -> AbstractContextManager:
    """Skip gradient synchronisation until the last part of a batch."""
    if last or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


def full_tensor(tensor: Tensor) -> Tensor:
    """The full tensor; every process must call this for the same tensor."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_full(target: Tensor, source: Tensor) -> None:
    """Copy a full tensor into one that may be sharded over processes."""
    with torch.no_grad():
        if isinstance(target, DTensor):
            source = distribute_tensor(source.to(target.device), target.device_mesh, target.placements)
        target.copy_(source)
