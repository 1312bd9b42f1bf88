"""Every architecture in every format that publishes it, against its official code."""

from pathlib import Path

import pytest

from saccade.checkpoints.formats import FORMATS
from tests.parity.cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=[f"{c.format}: {c.name}" for c in CASES])
def test_outputs_equal_the_official_ones(case: Case, tmp_path: Path) -> None:
    assert case.difference(tmp_path) <= case.tolerance


def test_no_format_is_left_out() -> None:
    """Google's have no code in a package; they are compared in `test_google.py`."""
    named = {f.__name__.rsplit(".", 1)[1] for f in FORMATS}
    assert named == {c.format for c in CASES} | {"google_vit", "google_hybrid", "google_bit"}
