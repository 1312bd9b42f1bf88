"""All exact rewrites of a model, one after the other."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from saccade.inference.rewrites.absorb_keys_values import absorb_keys_values
from saccade.inference.rewrites.fixed_filters import fix_filters
from saccade.inference.rewrites.fold_batch_norm import fold_batch_norm
from saccade.inference.rewrites.fold_layer_scale import fold_layer_scale
from saccade.inference.rewrites.fold_norms import fold_norms
from saccade.models.model import Model

Rewrite = Callable[[nn.Module], nn.Module]

REWRITES: tuple[Rewrite, ...] = (
    fold_norms,
    fold_layer_scale,
    absorb_keys_values,
    fix_filters,
    fold_batch_norm,
)
WITH_WEIGHTS = tuple(rewrite for rewrite in REWRITES if rewrite is not absorb_keys_values)  # every attention stays


def rewritten(model: Model, rewrites: Sequence[Rewrite] = REWRITES) -> Model:
    """A copy of a model that computes the same output in fewer steps, in evaluation mode.

    Args:
        model: any model of this package; it is not changed.
        rewrites: rewrites in order; those of :data:`WITH_WEIGHTS` keep the weights of every attention.

    Returns:
        a model of the same class with the same call. Its weights are constants: it cannot be trained or saved.
    """
    result = copy.deepcopy(model).eval().requires_grad_(False)
    with torch.no_grad():
        for rewrite in rewrites:
            rewrite(result)
    return result.eval().requires_grad_(False)


class Part(nn.Module):
    """One of a model's methods on images as a module, for exporters: ``forward(images [B, C, H, W])`` -> tensors.

    Args:
        model: the model.
        method: "forward" or "embed".
    """

    def __init__(self, model: Model, method: str):
        super().__init__()
        self.model, self.method = model, method

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.model.embed(images) if self.method == "embed" else self.model(images)
        return tuple(tensors_of(output))


def tensors_of(output: object) -> list[Tensor]:
    """The tensors of a model's output, in order; intermediate predictions of a detector and None are left out."""
    if isinstance(output, Tensor):
        return [output]
    assert isinstance(output, tuple)
    return [part for part in output if isinstance(part, Tensor)]


def like(output: object, tensors: list[Tensor]) -> object:
    """The inverse of :func:`tensors_of`, with the form of another output of the same model."""
    if isinstance(output, Tensor):
        return tensors[0]
    assert isinstance(output, tuple)
    rest = iter(tensors)
    parts: list[object] = []
    for part in output:
        parts.append(next(rest) if isinstance(part, Tensor) else () if isinstance(part, tuple) else None)
    return type(output)(*parts)  # type: ignore[arg-type]  # a named tuple
