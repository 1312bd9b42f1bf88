"""Schedules of the learning rate."""

import pytest

from saccade.training.schedules import lr_share


def test_inverse_square_root() -> None:
    shares = [lr_share(step, 1000, 0.1, shape="inverse_sqrt") for step in range(1000)]
    assert max(shares) == shares[99] == 1.0
    assert shares[399] == pytest.approx(0.5)
    assert shares[49] == pytest.approx(0.5)
