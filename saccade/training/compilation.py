"""torch.compile in training, and the number of steps after which it pays off."""

import os
import shutil
import time
from collections.abc import Callable

import torch
from torch import nn

from saccade.errors import ConfigError

COMPILERS = ("g++", "clang++", "cl")
ROUNDS = 3  # that are timed, of each kind


def require_compiler() -> None:
    """Check that the generated code can be built.

    Raises:
        ConfigError: the machine has no C++ compiler.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS) if name):
        raise ConfigError(
            "compile: torch.compile builds C++, and this machine has no compiler (g++, clang++): install one, or leave "
            "compile off"
        )


def compile_in_place(model: nn.Module, gradients: Callable[[], object], total_steps: int) -> str:
    """Compile a model, and compare a step's forward and backward pass before and after.

    Weights, buffers and gradients are restored afterwards.

    Args:
        model: the network; with several processes the module inside DDP.
        gradients: function that computes the gradients of one batch.
        total_steps: remaining steps of the run.

    Returns:
        cost and gain of compilation, in one line.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    gradients()
    before = min(_seconds(gradients) for _ in range(ROUNDS))
    model.compile()
    first = _seconds(gradients)
    after = min(_seconds(gradients) for _ in range(ROUNDS))
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return payback(first - after, before, after, total_steps)


def payback(compile_seconds: float, before: float, after: float, total_steps: int) -> str:
    """Such as "compiled in 30 s: a step's passes take 0.2 s instead of 0.3 s, which pays after 301 steps; …"."""
    text = f"compiled in {compile_seconds:.0f} s: a step's passes take {after:.3g} s instead of {before:.3g} s"
    if after >= before:
        return f"{text}, which does not pay"
    steps = int(compile_seconds / (before - after)) + 1
    return f"{text}, which pays after {steps} steps; this run takes {total_steps}"


def _seconds(gradients: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    gradients()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
