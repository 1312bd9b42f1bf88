"""The tables of docs/checkpoints.md have a row for every format, and each row has a test."""

from pathlib import Path

from saccade.checkpoints.formats import FORMATS
from tests.opens.checkpoints import OTHERS, format_rows, key
from tests.parity.cases import CASES

PARITY = Path(__file__).parents[1] / "parity"


def test_every_format_has_a_row_and_a_test() -> None:
    assert len(format_rows()) == len(FORMATS)
    assert {key(publisher) for publisher in FORMATS} == {case.format for case in CASES} | set(OTHERS)
    for name, (_, _, module) in OTHERS.items():
        assert (PARITY / f"{module}.py").is_file(), name
