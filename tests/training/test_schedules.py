"""Schedules of the learning rate."""

import pytest

from saccade.training.schedules import lr_factor


def test_inverse_square_root() -> None:
    factors = [lr_factor(step, 1000, 0.1, shape="inverse_sqrt") for step in range(1000)]
    assert max(factors) == factors[99] == 1.0
    assert factors[399] == pytest.approx(0.5)
    assert factors[49] == pytest.approx(0.5)
