"""Tensors that a forward pass saves for the backward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

Storages = dict[int, torch.UntypedStorage]  # by address


@contextmanager
def saved_storages(recomputed: Sequence[nn.Module]) -> Iterator[tuple[Storages, list[Storages]]]:
    """Storages that a pass saves for the backward pass, by address, so that a tensor saved by two layers counts once;
    and separately, those that each call of a recomputed part would save."""
    saved: Storages = {}
    parts: list[Storages] = []
    holder = [saved]  # of what is saved now

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        holder[-1][storage._cdata] = storage
        return tensor

    def enter(part: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        for tensor in (*args, *kwargs.values()):
            if isinstance(tensor, Tensor):
                save(tensor)
        parts.append({})
        holder.append(parts[-1])

    def leave(part: nn.Module, args: tuple, output: object) -> None:
        holder.pop()

    handles = [part.register_forward_pre_hook(enter, with_kwargs=True) for part in recomputed]
    handles += [part.register_forward_hook(leave) for part in recomputed]
    try:
        with saved_tensors_hooks(save, lambda tensor: tensor):
            yield saved, parts
    finally:
        for handle in handles:
            handle.remove()
