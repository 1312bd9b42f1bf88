"""Batch normalisation in additional forward passes of a training step."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Inside the `with`, batch norms in training mode do not update their running statistics: for a second forward pass
    over inputs that already update them in another pass."""
    momenta = {
        module: module.momentum for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    counts = {
        module: module.num_batches_tracked.clone() for module in momenta if module.num_batches_tracked is not None
    }
    try:
        for module in momenta:
            module.momentum = 0.0
        yield
    finally:
        for module, momentum in momenta.items():
            module.momentum = momentum
            if module in counts and module.num_batches_tracked is not None:
                module.num_batches_tracked.copy_(counts[module])
