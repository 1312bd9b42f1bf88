"""python -m benchmarks.inference: what it measures and counts, not how fast anything is."""

import io
from pathlib import Path

import pytest
import torch

from benchmarks.inference.__main__ import LIMIT, draw, rows_of, table
from benchmarks.inference.ways import LIMIT_FLOP, WAYS, of_timm, of_torchvision, of_transformers, own, ways_for
from benchmarks.inference.worker import samples, start
from saccade.errors import ConfigError


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
    rows = {row.way: row for row in rows_of(seconds, "vit_ti16", 8, 1, LIMIT_FLOP / 16e9)}
    assert list(rows) == ["timm", "transformers", "saccade"]
    assert (rows["saccade"].by_timm, rows["saccade"].by_best_peer) == (4.0, 2.0)
    assert rows["transformers"].by_best_peer == 1.0
    assert rows["saccade"].fraction == pytest.approx(1.0)  # 2 * macs * batch / seconds, beside the limit's
    assert "| vit_ti16 | 8 | 1 | saccade | 1000.0 (1000.0–1750.0) | 4.00 | 2.00 | 2.00 | 1.00 |" in table(
        list(rows.values())
    )
    draw(list(rows.values()), tmp_path / "chart.png", "a note")
    assert (tmp_path / "chart.png").stat().st_size > 5000


def test_peers_of_a_precision() -> None:
    """int8 beside the best peer in float32, and beside the best in int8."""
    seconds = {LIMIT: [1.0] * 4, "timm": [4.0] * 4, "timm in ONNX Runtime": [2.0] * 4}
    seconds |= {"timm in ONNX Runtime, int8": [1.5] * 4, "saccade in ONNX Runtime, int8": [1.0] * 4}
    row = rows_of(seconds, "vit_ti16", 1, 2, 1.0)[-1]
    assert (row.by_timm, row.by_best_f32, row.by_best_peer, row.threads) == (4.0, 2.0, 1.5, 2)


def test_ways_of_a_model_in_some_precisions() -> None:
    vit, detr = ways_for(["vit_s16"], ["f32"]), ways_for(["detr_r50"], ["f32", "int8"])
    assert "timm in OpenVINO" in vit
    assert "transformers in OpenVINO" not in vit
    assert not any("int8" in way or "bf16" in way or "compiled" in way for way in vit)
    assert {"transformers in OpenVINO", "transformers in ONNX Runtime, int8", "saccade in OpenVINO"} <= set(detr)
    assert "timm in OpenVINO" not in detr


@pytest.mark.parametrize("name", ["detr_r50", "dpt_s", "clip_vit_b32", "resnet50", "convnext_t"])
def test_peers_have_the_size_of_our_model(name: str) -> None:
    """By their parameters, on the meta device; transformers' DETR has convolutions with batch norms that ours folds."""
    with torch.device("meta"):
        ours = sum(p.numel() for p in own(name).parameters())
        for make in (of_timm, of_transformers, of_torchvision):
            try:
                theirs = sum(p.numel() for p in make(name).parameters())
            except ConfigError:
                continue
            assert theirs == pytest.approx(ours, rel=0.02), make


def test_every_way_has_a_peer_and_ours() -> None:
    assert {"timm", "transformers", "torchvision", "timm in ONNX Runtime", "timm in OpenVINO"} <= WAYS.keys()
