"""Learning rates of every step: timm's `CosineLRScheduler`, counted in steps, and transformers' schedules.

Their warm-ups start at 0 and reach the full rate in the step after the last of the warm-up. Here a step with rate 0 is
not taken: in the warm-up each step has the rate of their next one. The cosine is the same step by step; the inverse
root stays one step ahead.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from saccade.training.schedules import lr_factor

LR, STEPS = 3e-3, 200


def one_step_ahead_in_the_warmup(rates: list[float], warmup: int) -> list[float]:
    return rates[1 : warmup + 1] + rates[warmup:]


def rates_of_timm(warmup: int, final: float) -> list[float]:
    scheduler = pytest.importorskip("timm.scheduler")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    cosine = scheduler.CosineLRScheduler(
        optimizer, t_initial=STEPS - warmup, lr_min=final * LR, warmup_t=warmup, warmup_prefix=True, t_in_epochs=False
    )
    rates = []
    for step in range(STEPS):
        cosine.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def rates_of_transformers(make: Callable[[torch.optim.Optimizer], Any], count: int = STEPS) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler, rates = make(optimizer), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def our_rates(warmup: int, final: float = 0.0, shape: str = "cosine") -> list[float]:
    return [LR * lr_factor(step, STEPS, warmup / STEPS, final, shape) for step in range(STEPS)]


@pytest.mark.parametrize("warmup", [0, 1, 20])
@pytest.mark.parametrize("final", [0.0, 0.01])
def test_cosine_of_timm(warmup: int, final: float) -> None:
    expected = one_step_ahead_in_the_warmup(rates_of_timm(warmup, final), warmup)
    assert our_rates(warmup, final) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("warmup", [0, 1, 20])
def test_cosine_of_transformers(warmup: int) -> None:
    transformers = pytest.importorskip("transformers")
    make = partial(transformers.get_cosine_schedule_with_warmup, num_warmup_steps=warmup, num_training_steps=STEPS)
    expected = one_step_ahead_in_the_warmup(rates_of_transformers(make), warmup)
    assert our_rates(warmup) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("warmup", [1, 20])
def test_inverse_square_root_of_transformers(warmup: int) -> None:
    transformers = pytest.importorskip("transformers")
    make = partial(transformers.get_inverse_sqrt_schedule, num_warmup_steps=warmup)
    expected = rates_of_transformers(make, STEPS + 1)[1:]
    assert our_rates(warmup, shape="inverse_sqrt") == pytest.approx(expected, rel=1e-9)


def test_inverse_square_root_without_warmup() -> None:
    """Their default is a time scale of 10,000 steps; here the rate falls from the second step on."""
    transformers = pytest.importorskip("transformers")
    make = partial(transformers.get_inverse_sqrt_schedule, num_warmup_steps=0, timescale=1)
    assert our_rates(0, shape="inverse_sqrt") == pytest.approx(rates_of_transformers(make), rel=1e-9)
