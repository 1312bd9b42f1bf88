"""The learning rate over a run: linear warm-up, then cosine decay (Loshchilov & Hutter, arXiv 1608.03983), or decay
with the inverse square root of the step (Vaswani et al., arXiv 1706.03762)."""

import math
from collections.abc import Sequence


def lr_factor(step: int, total_steps: int, warmup: float, final: float = 0.0, shape: str = "cosine") -> float:
    """The factor of the peak learning rate at a step.

    Args:
        step: from 0.
        total_steps: of the run.
        warmup: fraction of the run with increasing learning rate.
        final: fraction of the peak learning rate at the end of the cosine.
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
    """The length in steps of the schedule at a step, for a run whose length was changed.

    Args:
        step: from 0.
        total_steps: length of the current schedule.
        earlier: (first step of the next schedule, length in steps) of earlier schedules, in order.
    """
    return next((length for end, length in earlier if step < end), total_steps)
