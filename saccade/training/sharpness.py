"""Sharpness-aware minimisation (SAM; Foret et al., arXiv 2010.01412): a minimum that is low all around.

Climb from the weights w to the worst place nearby, take the gradient there, and step from w with it:

    e = ρ g / ‖g‖              SAM: the ball has radius ρ
    e = ρ w² g / ‖ |w| g ‖     ASAM (Kwon et al., arXiv 2102.11600): each weight's radius is in proportion to its size
    w ← w - lr · optimizer(gradient at w + e)

ViTs from scratch gain most (Chen et al., arXiv 2106.01548): their minima are sharper than those of ConvNets.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from saccade.training.distributed import whole


@contextmanager
def at_the_worst_place(model: nn.Module, rho: float, *, adaptive: bool = False) -> Iterator[None]:
    """Inside the `with` the weights stand at w + e; after it at w again, to the bit.

    Args:
        model: its parameters have the gradient of the whole batch, over all its parts and processes; they are read
            and left. Shared-out parameters (FSDP2) are climbed by parts, with the length of the whole.
        rho: ρ, of the ball; 0 climbs nowhere.
        adaptive: ASAM instead of SAM.
    """
    moved = [p for p in model.parameters() if p.grad is not None]
    before = [p.detach().clone() for p in moved]
    with torch.no_grad():
        slopes = [scaled(p) if adaptive else gradient(p) for p in moved]
        factor = rho / (length(slopes) + 1e-12)
        for parameter, slope in zip(moved, slopes):
            parameter.add_((slope * parameter.abs() if adaptive else slope) * factor.to(slope.dtype))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in zip(moved, before):
                parameter.copy_(weights)


def gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def scaled(parameter: nn.Parameter) -> Tensor:
    return gradient(parameter) * parameter.abs()


def length(tensors: list[Tensor]) -> Tensor:
    """The Euclidean length of all together, as float64; of shared-out tensors their whole."""
    squares = [whole(torch.linalg.vector_norm(t)).double().square() for t in tensors]
    return torch.stack(squares).sum().sqrt()


@contextmanager
def statistics_left_alone(model: nn.Module) -> Iterator[None]:
    """Batch norms do not move their running statistics: those of w count, not those of the worst place."""
    kept = {
        module: module.momentum for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    counts = {module: module.num_batches_tracked.clone() for module in kept if module.num_batches_tracked is not None}
    try:
        for module in kept:
            module.momentum = 0.0
        yield
    finally:
        for module, momentum in kept.items():
            module.momentum = momentum
            if module in counts and module.num_batches_tracked is not None:
                module.num_batches_tracked.copy_(counts[module])
