"""python -m benchmarks.inference: what it measures and counts, not how fast anything is."""

import io
from pathlib import Path

import pytest

from benchmarks.inference.__main__ import LIMIT, draw, rows_of, table
from benchmarks.inference.ways import LIMIT_FLOP, WAYS
from benchmarks.inference.worker import samples, start


def test_a_worker_runs_a_way_for_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.inference.worker.LEAST_SECONDS", 0.01)
    for way in ("saccade, rewritten", "timm", LIMIT):
        ready, first, second = samples(start(way, "vit_digits", 2, 1), io.StringIO("go\ngo\n"))
        assert ready == {"ready": 1.0}
        assert first["wall"] > 0
        assert second["cpu"] > 0


def test_ratios_are_paired_and_the_best_peer_is_no_way_of_ours(tmp_path: Path) -> None:
    seconds = {LIMIT: [1.0] * 4, "timm": [4.0, 8.0, 4.0, 4.0], "transformers": [2.0, 4.0, 2.0, 2.0]}
    seconds["saccade"] = [1.0, 2.0, 1.0, 1.0]
    rows = {row.way: row for row in rows_of(seconds, "vit_ti16", 8, LIMIT_FLOP / 16e9)}
    assert list(rows) == ["timm", "transformers", "saccade"]
    assert (rows["saccade"].by_timm, rows["saccade"].by_best_peer) == (4.0, 2.0)
    assert rows["transformers"].by_best_peer == 1.0
    assert rows["saccade"].fraction == pytest.approx(1.0)  # 2 * macs * batch / seconds, beside the limit's
    assert "| vit_ti16 | 8 | saccade | 1000.0 (1000.0–1750.0) | 4.00 | 2.00 | 1.00 |" in table(list(rows.values()))
    draw(list(rows.values()), tmp_path / "chart.png", "a note")
    assert (tmp_path / "chart.png").stat().st_size > 5000


def test_every_way_has_a_peer_and_ours() -> None:
    assert {"timm", "transformers", "torchvision", "timm in ONNX Runtime", "timm in OpenVINO"} <= WAYS.keys()
