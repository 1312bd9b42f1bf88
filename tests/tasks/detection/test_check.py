"""Invalid boxes are reported and corrected; scenes read from files equal those in memory."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main
from saccade.data.builtin.scenes import scene_splits
from saccade.data.builtin.write_scenes import write_scenes
from saccade.data.config import DataConfig, ScenesConfig
from saccade.errors import DataError
from saccade.tasks.detection.box_problems import correction, find_problem
from saccade.tasks.detection.check import check_boxes
from saccade.tasks.detection.sources import open_boxes
from tests.tasks.detection.test_sources import WHOLE, write_coco, write_voc


@pytest.mark.parametrize(
    ("box", "kind", "fixed"),
    [
        ((2.0, 3.0, 12.0, 9.0), None, None),
        ((0.0, 0.0, 40.5, 24.0), None, None),
        ((-1.0, 0.0, 41.0, 25.0), None, None),  # a pixel beyond an edge is rounding
        ((-1.5, 0.0, 40.0, 24.0), "outside", (0.0, 0.0, 40.0, 24.0)),
        ((5.0, 5.0, 5.0, 9.0), "empty", None),
        ((5.0, 9.0, 9.0, 9.0), "empty", None),
        ((3.0, 24.0, 9.0, 40.0), "outside", None),
        ((0.0, 5.0, 41.0, 30.0), "corners", (0.0, 5.0, 40.0, 24.0)),
        ((20.0, 5.0, 40.0, 30.0), "outside", (20.0, 5.0, 40.0, 24.0)),  # as corners it would be empty
        ((5.0, 14.0, 45.0, 28.0), "outside", (5.0, 14.0, 40.0, 24.0)),
        ((12.0, 3.0, 2.0, 9.0), "negative", (2.0, 3.0, 12.0, 9.0)),
        ((-6.0, 3.0, 12.0, 9.0), "outside", (0.0, 3.0, 12.0, 9.0)),
        ((3.0, -6.0, 12.0, 9.0), "outside", (3.0, 0.0, 12.0, 9.0)),
        ((5.0, 6.0, 50.0, 30.0), "outside", (5.0, 6.0, 40.0, 24.0)),
        ((60.0, 3.0, 90.0, 9.0), "outside", None),
        ((10.0, 8.0, 10.0 + 38.0, 8.0 + 20.0), "corners", (10.0, 8.0, 38.0, 20.0)),
    ],
)
def test_each_kind(box, kind, fixed) -> None:
    assert find_problem(box, 40, 24) == kind
    if kind is not None:
        assert correction(box, kind, 40, 24) == fixed


def test_found_named_and_corrected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_coco(tmp_path / "data")
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    bad = [[5, 5, 0, 4], [30, 10, -10, 4], [30, 4, 38, 20], [35, 2, 20, 4]]
    content["annotations"] += [
        {"id": 50 + i, "image_id": 103, "category_id": 7, "bbox": box} for i, box in enumerate(bad)
    ]
    file.write_text(json.dumps(content))
    report = check_boxes(open_boxes(str(root), WHOLE))
    assert sorted(p.kind for p in report.problems) == ["corners", "empty", "negative", "outside"]
    assert main(["data", "check", str(root), "--task", "detection"]) == 1
    assert "p3.png cell" in capsys.readouterr().out
    assert main(["data", "check", str(root), "--task", "detection", "--fix"]) == 0
    assert f"corrected: {file}" in capsys.readouterr().out
    assert file.with_name("instances_train.json.orig").is_file()
    assert main(["data", "check", str(root), "--task", "detection"]) == 0
    assert len(json.loads(file.read_text())["annotations"]) == len(content["annotations"]) - 1
    with pytest.raises(DataError, match="no annotations to check"):
        check_boxes(open_boxes("scenes"))
    voc = write_voc(tmp_path / "voc")
    assert not check_boxes(open_boxes(str(voc))).problems


def test_scenes_as_files(tmp_path: Path) -> None:
    config = ScenesConfig(size=(64, 64), train=4, val=1, test=2)
    splits = scene_splits(config)
    folder = write_scenes(splits, tmp_path / "scenes")
    again = open_boxes(str(folder))
    assert (len(again.train), len(again.val or []), len(again.test or [])) == (4, 1, 2)
    for index in range(4):
        made, read = splits.train.with_boxes(index), again.train.with_boxes(index)
        assert (np.asarray(made.image) == np.asarray(read.image)).all()
        assert made.boxes == pytest.approx(read.boxes)
        names = [[source.classes[i] for i in sample.labels] for source, sample in ((splits, made), (again, read))]
        assert names[0] == names[1]
    scene = splits.train.scene(0)
    depth = np.asarray(Image.open(folder / "depth" / "train" / "000000.png"))
    assert np.allclose(depth / 1000, scene.depth, atol=6e-4)
    assert (np.asarray(Image.open(folder / "masks" / "train" / "000000.png")) == scene.semantic).all()
    assert scene.caption in (folder / "captions.csv").read_text()
    with pytest.raises(DataError, match="not empty"):
        write_scenes(splits, folder)
    assert (
        main(["data", "scenes", str(tmp_path / "more"), "--train", "2", "--val", "0", "--test", "1", "--size", "48"])
        == 0
    )
    assert len(open_boxes(str(tmp_path / "more"), DataConfig(val_fraction=0.0)).train) == 2


def test_a_sample_of_the_images_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saccade.tasks.detection.check.SAMPLE", 2)
    splits = open_boxes(str(write_coco(tmp_path / "data")), WHOLE)
    seen: list[tuple[int, int]] = []
    report = check_boxes(splits, mode="sample", on_image=lambda done, total: seen.append((done, total)))
    assert report.checked == 2
    assert seen == [(1, 2), (2, 2)]
    assert "checked 2 of 4 images" in str(report)
    assert sum(report.counts["train"].values()) == 6
    assert check_boxes(splits, mode="auto").checked == 4
