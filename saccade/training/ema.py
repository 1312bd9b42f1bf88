"""An exponential moving average of the weights, which generalises better than the last weights (Polyak & Juditsky
1992)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """Exponential moving average of a model's parameters and floating-point buffers.

    Buffers are averaged too: the running statistics of a batch norm belong to the weights that produced them. Integer
    buffers, such as the number of batches that a batch norm has seen, are copied.

    The decay grows with the steps, ``min(decay, (1 + t) / (10 + t))``, so that the random initial weights lose their
    influence quickly.

    Args:
        model: its parameters and buffers are the first values.
        decay: fraction of the average that is kept at each step, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.tensors: dict[str, Tensor] = {n: p.detach().clone() for n, p in model.named_parameters()}
        self.buffers: dict[str, Tensor] = {n: b.detach().clone() for n, b in persistent_buffers(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the average with the weights after optimizer step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(list(self.tensors.values()), parameters, 1 - decay)
        buffers = dict(model.named_buffers())
        for name, average in self.buffers.items():
            if average.is_floating_point():
                average.lerp_(buffers[name], 1 - decay)
            else:
                average.copy_(buffers[name])

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Inside the `with` block the model has the averaged weights; afterwards its own weights are restored."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    def pairs(self, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Each parameter and buffer of the model with its average."""
        parameters = [(parameter, self.tensors[name]) for name, parameter in model.named_parameters()]
        return parameters + [(buffer, self.buffers[name]) for name, buffer in persistent_buffers(model).items()]

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for current, average in self.pairs(model):
            original = current.detach().clone()
            current.copy_(average)
            average.copy_(original)


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that are saved with the model, by name."""
    saved = model.state_dict(keep_vars=True).keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in saved}
