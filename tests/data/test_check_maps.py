"""Maps are looked at before training: sizes, holes, units, classes that no pixel shows."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main
from saccade.data.check_maps import check_maps
from saccade.data.dense import open_dense


def write(folder: Path, kind: str, maps: list[np.ndarray]) -> None:
    for place in ("images", kind):
        (folder / "train" / place).mkdir(parents=True, exist_ok=True)
    for number, map_ in enumerate(maps):
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(folder / "train/images" / f"{number}.png")
        Image.fromarray(map_).save(folder / "train" / kind / f"{number}.png")


def test_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = np.full((6, 8), 2000, np.uint16)
    good[0] = 0
    write(tmp_path, "depth", [good, np.full((6, 6), 2000, np.uint16), np.zeros((6, 8), np.uint16)])
    report = check_maps(open_dense(str(tmp_path), "depth"), "depth")
    assert report.values["train"] == pytest.approx({"nearest": 2.0, "median": 2.0, "farthest": 2.0})
    assert report.holes["train"] == pytest.approx(8 / 48)
    assert list(report.broken) == ["train/images/1.png", "train/images/2.png"]
    assert "6 x 6" in report.broken["train/images/1.png"]
    assert "no depth at all" in report.broken["train/images/2.png"]
    assert not report.warnings
    assert main(["data", "check", str(tmp_path), "--task", "depth"]) == 1
    assert "2.png has no depth at all" in capsys.readouterr().out


def test_a_wrong_unit_is_suspected(tmp_path: Path) -> None:
    write(tmp_path, "depth", [np.full((6, 8), 3, np.uint16)])
    report = check_maps(open_dense(str(tmp_path), "depth"), "depth")
    assert "0.003 m" in report.warnings[0]


def test_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[:, :2] = 1
    mask[0, 0] = 255
    write(tmp_path, "masks", [mask])
    (tmp_path / "classes.json").write_text('["ground", "road", "sky"]')
    assert main(["data", "check", str(tmp_path), "--task", "segment", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["values"]["train"] == {"ground": 36, "road": 11}
    assert report["holes"]["train"] == pytest.approx(1 / 48)
    assert report["warnings"] == ["no training pixel of the class sky"]
    Image.fromarray(np.full((6, 8), 255, np.uint8)).save(tmp_path / "train/masks/0.png")
    assert main(["data", "check", str(tmp_path), "--task", "segment"]) == 1
    assert "the mask of train/images/0.png has no class" in capsys.readouterr().out
