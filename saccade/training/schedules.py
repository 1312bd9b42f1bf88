"""The learning rate over a run: linear warm-up, then half a cosine down (Loshchilov & Hutter, arXiv 1608.03983), or
down with the root of the steps (Vaswani et al., arXiv 1706.03762)."""

import math
from collections.abc import Sequence


def lr_factor(step: int, total_steps: int, warmup: float, final: float = 0.0, shape: str = "cosine") -> float:
    """The factor of the full learning rate that a step uses.

    Args:
        step: from 0.
        total_steps: of the run.
        warmup: fraction of the run in which the rate grows.
        final: fraction of the rate that is left after the last step of the cosine.
        shape: "cosine" or "inverse_sqrt".
    """
    warmup_steps = round(warmup * total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if shape == "inverse_sqrt":
        return math.sqrt(max(warmup_steps, 1) / (step + 1))
    progress = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def schedule_length(step: int, total_steps: int, earlier: Sequence[tuple[int, int]]) -> int:
    """The length in steps of the schedule that a step belongs to, of a run whose length was changed on the way.

    Args:
        step: from 0.
        total_steps: of the schedule that holds now.
        earlier: (first step of the next schedule, length in steps) of those before it, the first one first.
    """
    return next((length for end, length in earlier if step < end), total_steps)
