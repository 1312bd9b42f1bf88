"""What tests of the lab share."""

import pytest

from saccade.nn.matmul_precision import MatmulPrecisionChoice
from saccade.training import resume


@pytest.fixture
def fixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run measures which precision of matrix products is fastest: that takes longer than these runs, and under load
    two runs may choose differently."""
    choice = MatmulPrecisionChoice("highest", "fixed")
    monkeypatch.setattr(resume, "choose_matmul_precision", lambda *_, **__: choice)
