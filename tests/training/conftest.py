"""What all runs of these tests share."""

from collections.abc import Iterator

import pytest

from saccade.engine import predictor
from saccade.nn.matmul_precision import MatmulPrecisionChoice
from saccade.training import resume


@pytest.fixture(autouse=True, scope="module")  # before the runs that the tests of a module share
def _the_same_precision() -> Iterator[None]:
    """Matmul precision is measured once in a run; two runs that are compared to the bit must not be told
    differently by a moment in which the machine was busy."""
    choice = MatmulPrecisionChoice("highest", "float32 matmul precision: highest (the same in every test)")
    with pytest.MonkeyPatch.context() as patch:
        for module in (resume, predictor):
            patch.setattr(module, "choose_matmul_precision", lambda *_, **__: choice)
        yield
