"""Activation checkpointing: less memory for a third more computation (Chen et al., arXiv 1604.06174).

The forward pass keeps only the inputs of each part; the backward pass recomputes the part, with the same dropout.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from saccade.nn.batch_norm import frozen_statistics


@contextmanager
def recomputed(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Inside the `with` block, the backward pass recomputes the activations of these modules, none of which contains
    another.

    Outputs and gradients are bitwise the same: random numbers are drawn again from the same state, and batch norms
    update their running statistics in the first pass only.
    """
    for part in parts:
        part.forward = partial(  # type: ignore[method-assign]
            checkpoint, part.forward, use_reentrant=False, context_fn=partial(_contexts, part)
        )
    try:
        yield
    finally:
        for part in parts:
            del part.forward  # that of the class again


def _contexts(part: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Context managers of the first and the second pass."""
    return nullcontext(), frozen_statistics(part)
