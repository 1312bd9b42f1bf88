"""The table and the picture of the benchmark of training loops."""

from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("timm")

from benchmarks.training.__main__ import Samples, draw, table


def test_ratios_are_medians_of_paired_steps(tmp_path: Path) -> None:
    ours = Samples([0.1, 0.2, 0.4], [2.0, 1.5, 1.25], 100 * 2**20, "110 (105)")
    timm = Samples([0.2, 0.3, 0.6], [2.0, 1.5, 1.0], 120 * 2**20)
    first, second = table("small", {"saccade": ours, "timm": timm}).splitlines()
    assert first == "| small | saccade | 200 | 1.00 |  | 100 | 110 (105) | 2.0000 → 1.2500 | 0e+00 |"
    assert second == "| small | timm | 300 | 1.50 | 1.50–2.00 | 120 |  | 2.0000 → 1.0000 | 2e-01 |"
    draw({"small": {"saccade": ours, "timm": timm}}, tmp_path / "losses.png")
    with Image.open(tmp_path / "losses.png") as picture:
        assert picture.width > 400
