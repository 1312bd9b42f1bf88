"""`data.max_pixels` limits the images of every task, in training and in `saccade data check`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from saccade.cli.main import main
from saccade.data.check import check_data
from saccade.data.config import DataConfig
from saccade.tasks import table
from tests.opens.boxes import write_coco
from tests.opens.captions import write_csv
from tests.opens.data import SIZE, picture, written
from tests.opens.labels import write_splits
from tests.opens.maps import write_depth, write_numbers

PIXELS = SIZE[0] * SIZE[1]


def write_values(root: Path) -> Path:
    picture(root / "a.jpg")
    picture(root / "b.jpg")
    return written(root / "values.csv", "file,value\na.jpg,1.5\nb.jpg,2.5\n")


def write_labels(root: Path) -> Path:
    picture(root / "a.jpg")
    picture(root / "b.jpg")
    return written(root / "labels.csv", "file,labels\na.jpg,cat;dog\nb.jpg,dog\n")


WRITERS: dict[str, Callable[[Path], Path]] = {
    "classification": write_splits,
    "detection": write_coco,
    "multilabel": write_labels,
    "regression": write_values,
    "segmentation": write_numbers("{split}/images/{name}.jpg", "{split}/masks/{name}.png"),
    "depth": write_depth(".png"),
    "masked_image": write_splits,
    "contrastive": write_csv,
}


@pytest.mark.parametrize("task", WRITERS)
def test_the_limit_is_that_of_the_config(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = WRITERS[task](tmp_path)
    room = table.room(task)
    for limit, ok in ((PIXELS, True), (PIXELS - 1, False)):
        config = DataConfig(max_pixels=limit, test_fraction=0.0)
        assert check_data(room.open_data(str(path), config)).ok == ok  # as before a run
        code = main(["data", "check", str(path), "--task", task, "--set", f"data.max_pixels={limit}"])
        assert code == (not ok)
        assert ("80 x 60 pixels; the maximum is" in capsys.readouterr().out) != ok


def test_a_limit_without_pixels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_coco(tmp_path)
    assert main(["data", "check", str(path), "--task", "detection", "--set", "data.max_pixels=0"]) == 2
    assert "data.max_pixels" in capsys.readouterr().err
    assert main(["data", "check", str(path), "--task", "detection", "--set", "batch_size=3"]) == 2
    assert "--set takes options of the data here" in capsys.readouterr().err


def test_the_check_takes_the_table_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_numbers("{split}/images/{name}.jpg", "{split}/masks/{name}.png", classes=False)(tmp_path / "data")
    table_file = written(tmp_path / "names.csv", "id,name\n0,sky\n1,street\n")
    code = main(["data", "check", str(path), "--task", "segmentation", "--set", f"data.class_table={table_file}"])
    assert code == 0
    assert "street 3,160" in capsys.readouterr().out
