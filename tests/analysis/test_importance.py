"""Importance of heads and blocks: what adds nothing changes nothing, and what decides everything shows."""

import json
from pathlib import Path

import pytest
import torch

import saccade
from saccade.analysis.importance import measure_importance
from saccade.analysis.inputs import open_images
from saccade.cli.main import main
from saccade.errors import ConfigError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--epochs", "3", "--output", str(run)]) == 0
    return run


def test_a_part_without_weights_changes_nothing_and_the_intervals_are_paired(trained: Path) -> None:
    predictor = saccade.load(trained)
    attention = predictor.model.get_submodule("blocks.0.attn")
    width = attention.value_dim // attention.num_heads
    with torch.no_grad():
        attention.proj.weight[:, width : 2 * width] = 0
    importance = measure_importance(
        predictor, open_images(predictor, "digits", limit=60), metric="negative log likelihood"
    )
    by_part = {(part.path, part.head): part for part in importance.parts}
    dead = by_part["blocks.0.attn", 1]
    assert (dead.change, dead.low, dead.high) == (0, 0, 0)
    assert not dead.matters
    assert len(importance.parts) == 2 * 4 + 2
    part = by_part["blocks.1", None]
    assert part.low <= part.change <= part.high
    with pytest.raises(ConfigError, match="no metric 'map'; there are accuracy"):
        measure_importance(predictor, open_images(predictor, "digits", limit=60), metric="map")
    del predictor.model.blocks[1]
    shorter = measure_importance(
        predictor, open_images(predictor, "digits", limit=60), metric="negative log likelihood"
    )
    assert part.change == pytest.approx(shorter.value - importance.value)


def test_the_command(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["analyze", "heads", str(trained), "digits", "--images", "30", "-o", str(tmp_path / "out")]) == 0
    assert "its change without a part" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "out/heads.json").read_text())
    assert len(numbers["parts"]) == 10
    assert (tmp_path / "out/heads.png").stat().st_size > 1000
