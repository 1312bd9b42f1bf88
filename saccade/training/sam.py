"""Sharpness-aware minimisation (SAM; Foret et al., arXiv 2010.01412): flat minima by gradients at perturbed weights.

Perturb the weights w by e, along the gradient, to the highest loss nearby; take the gradient there and step from w:

    e = ρ g / ‖g‖              SAM: the ball has radius ρ
    e = ρ w² g / ‖ |w| g ‖     ASAM (Kwon et al., arXiv 2102.11600): each weight's radius is in proportion to its size
    w ← w - lr · optimizer(gradient at w + e)

ViTs from scratch gain most (Chen et al., arXiv 2106.01548): their minima are sharper than those of ConvNets.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from saccade.training.distributed import full_tensor


@contextmanager
def perturbed_weights(model: nn.Module, rho: float, *, adaptive: bool = False) -> Iterator[None]:
    """Inside the `with` block the weights are w + e; afterwards they are w again, bit for bit.

    Args:
        model: the network, whose parameters have the gradient of the whole batch, over all parts and processes. Sharded
            parameters (FSDP2) are perturbed shard by shard, with the norm of the whole.
        rho: ρ, radius of the ball; 0 for no perturbation.
        adaptive: ASAM instead of SAM.
    """
    parameters = [p for p in model.parameters() if p.grad is not None]
    originals = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        gradients = [scaled(p) if adaptive else gradient(p) for p in parameters]
        factor = rho / (norm_of(gradients) + 1e-12)
        for parameter, grad in zip(parameters, gradients):
            parameter.add_((grad * parameter.abs() if adaptive else grad) * factor.to(grad.dtype))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in zip(parameters, originals):
                parameter.copy_(weights)


def gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def scaled(parameter: nn.Parameter) -> Tensor:
    return gradient(parameter) * parameter.abs()


def norm_of(tensors: list[Tensor]) -> Tensor:
    """The joint Euclidean norm of all tensors, as float64; sharded tensors count in full."""
    squares = [full_tensor(torch.linalg.vector_norm(t)).double().square() for t in tensors]
    return torch.stack(squares).sum().sqrt()
