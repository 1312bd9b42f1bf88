"""Twenty steps of every task compute what they computed when `tests/golden/curves` was written.

A change here is a change of what training computes. Where it is meant:

    python -m tests.golden.record curves NAME …
"""

from pathlib import Path

import pytest

from tests.golden.cases import CASES, STEPS, curve, stored_curve

# Processors round differently. Over ATen's default, AVX2 and AVX-512 kernels, oneDNN limited to SSE4.1 and MKL's
# compatible mode, the largest difference of a loss was 9e-6 (`segment`; 1e-6 elsewhere), of a norm 2e-6.
# Rounding grows from step to step: on another AMD EPYC `digits_recipe` differed by 4e-4 from its twelfth step on.
EARLY, TOLERANCE, LATE = 10, 1e-4, 1e-3


@pytest.mark.parametrize("name", CASES)
def test_golden_curve(name: str, tmp_path: Path) -> None:
    stored, now = stored_curve(name), curve(name, tmp_path / "run")
    assert len(stored["losses"]) == STEPS
    assert now["losses"][:EARLY] == pytest.approx(stored["losses"][:EARLY], rel=TOLERANCE)
    assert now["losses"] == pytest.approx(stored["losses"], rel=LATE)
    assert now["weights"] == pytest.approx(stored["weights"], rel=LATE)
