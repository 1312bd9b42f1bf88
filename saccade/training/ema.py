"""A running mean of the weights, which generalises better than the last ones (Polyak & Juditsky 1992)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightMean:
    """Exponential moving mean of a model's parameters.

    The decay grows with the steps, ``min(decay, (1 + t) / (10 + t))``, so that the random start is soon forgotten.

    Args:
        model: its parameters are the first values.
        decay: share of the mean that stays at each step, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.tensors: dict[str, Tensor] = {n: p.detach().clone() for n, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(list(self.tensors.values()), current, 1 - decay)

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """The model has the mean weights inside the `with`, and its own again after it."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            mean = self.tensors[name]
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)
