"""python -m benchmarks.growth: what it predicts, and what stops a cell."""

import pytest

from benchmarks.growth import Cell, counts, draw, line, measure


def test_multiply_adds_have_closed_forms() -> None:
    places, width = 4 * 4, 64
    linear = 4 * width * width * places
    assert counts("global", 64, 1)[0] == linear + 2 * places**2 * width
    assert counts("local, 7 x 7", 64, 1)[0] == 3 * width * width * places + 2 * 49 * places * width
    assert counts("global", 64, 8)[0] == 8 * counts("global", 64, 1)[0]


def test_what_is_kept_grows_as_the_places_do() -> None:
    """Fused attention keeps no weights."""
    for kind in ("global", "local, 7 x 7"):
        small, middle, large = (counts(kind, pixels, 1)[1] for pixels in (128, 256, 512))
        assert (large - middle) / (middle - small) == pytest.approx(4.0, rel=0.05), kind


def test_a_cell_is_measured_or_stopped(tmp_path) -> None:
    seconds, nbytes, stopped = measure("global", 64, 1, (5.0, 2**30))
    assert seconds is not None
    assert nbytes is not None
    assert not stopped
    assert seconds > 0
    assert measure("local, 7 x 7", 2048, 1, (5.0, 2**20)) == (None, None, "more than 0.000976562 GiB")
    cells = [Cell("global", 256, 1, 0.1, 2**20, 0.2, 2**21), Cell("global", 512, 1, 1.6, 2**22, None, None, "slow")]
    assert line(cells[0]) == "| global | 256 | 1 | 100.0 | 1.0 | 200.0 | 2.0 |"
    assert line(cells[1]).endswith("| slow |")
    draw([Cell(kind, 256, 1, 0.1, 2**20, 0.2, 2**21) for kind in ("global", "local, 7 x 7")], tmp_path / "a.png", "")
    assert (tmp_path / "a.png").stat().st_size > 5000
