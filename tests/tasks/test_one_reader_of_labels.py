"""Classes, several labels, numbers: what training refuses, `saccade data check` names, and the other way round."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.check import check_data
from saccade.data.config import DataConfig
from saccade.errors import DataError, ImageError
from saccade.tasks import table
from saccade.training.config import RunConfig, resolve
from saccade.training.preflight import judge_data

WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)
TABLES = {
    "classification": ("file,label", ("cat", "dog", "cat", "dog")),
    "multilabel": ("file,labels", ("a;b", "b", "", "a")),
    "regression": ("file,value", ("1.5", "-2", "0", "4")),
}
HEADER, FIRST = 0, 1  # lines of a table


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_table(root: Path, task: str) -> Path:
    header, cells = TABLES[task]
    for index in range(len(cells)):
        picture(root / f"{index}.png", index)
    path = root / "table.csv"
    path.write_text("\n".join([header, *(f"{index}.png,{cell}" for index, cell in enumerate(cells))]) + "\n")
    return path


def write_folders(root: Path) -> Path:
    for index, name in enumerate(("train/cat/0.png", "train/dog/1.png", "val/cat/2.png", "val/dog/3.png")):
        picture(root / name, index)
    return root


def line(number: int, text: str) -> Callable[[Path], object]:
    """Replace a line of the table."""

    def spoil(path: Path) -> None:
        lines = path.read_text().splitlines()
        lines[number] = text
        path.write_text("\n".join(lines) + "\n")

    return spoil


def cut(path: Path) -> None:
    image = path.parent / "0.png"
    image.write_bytes(image.read_bytes()[:60])


def copied(path: Path) -> None:
    """The second image has the bytes of the first, and another target."""
    (path.parent / "1.png").write_bytes((path.parent / "0.png").read_bytes())


def constant(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(f"{text.split(',')[0]},7" for text in lines[1:])]))


EVERY: list[tuple[str, Callable[[Path], object], str]] = [
    ("cut image", cut, "0.png"),
    ("text as image", lambda path: (path.parent / "0.png").write_text("<html>"), "0.png"),
    ("no image", lambda path: (path.parent / "0.png").unlink(), "line 2: there is no 0.png"),
    ("no file name", line(FIRST, ",1"), "line 2"),
    ("too many fields", line(FIRST, "0.png,a,b,c"), "line 2"),
    ("quote", line(FIRST, '0.png,"a'), "line 2"),
    ("copies", copied, "0.png = train:1.png"),
    ("no rows", lambda path: path.write_text(path.read_text().splitlines()[0] + "\n"), "no rows"),
    ("other columns", line(HEADER, "colour,shade"), "needs the columns file and"),
    ("not a text file", lambda path: path.write_bytes(b"\xff\xfe\x00\x01\xff"), "is not UTF-8"),
]
OWN = [
    ("classification", "no label", line(FIRST, "0.png,"), "line 2"),
    ("classification", "one class", lambda path: path.write_text("file,label\n0.png,cat\n1.png,cat\n"), "single class"),
    ("multilabel", "two separators", line(FIRST + 1, "1.png,a|b"), "separate labels by one"),
    ("multilabel", "no label at all", lambda path: path.write_text("file,labels\n0.png,\n"), "no image with a label"),
    ("regression", "no number", line(FIRST, "0.png,tall"), "line 2: the column value must hold a number"),
    ("regression", "infinite", line(FIRST, "0.png,inf"), "line 2: the column value must hold a finite number"),
    ("regression", "empty", line(FIRST, "0.png,"), "line 2: the column value must hold a number"),
    ("regression", "constant", constant, "training values are 7"),
]
CASES = [pytest.param(t, spoil, named, id=f"{t}-{name}") for name, spoil, named in EVERY for t in TABLES]
CASES += [pytest.param(t, spoil, named, id=f"{t}-{name}") for t, name, spoil, named in OWN]


def config_of(task: str, path: Path) -> RunConfig:
    config = resolve(overrides={"task": task, "data.path": str(path), "model.name": "vit_lite7_4", "batch_size": 2})
    augmentation = replace(config.augmentation, mixup=0.0, cutmix=0.0)
    return replace(config, data=replace(config.data, val_fraction=0.0, test_fraction=0.0), augmentation=augmentation)


def checked(task: str, path: Path) -> str:
    """What `data check` prints about the data; "" where it is right."""
    try:
        report = table.room(task).check(str(path))
    except DataError as error:
        return str(error)
    return "" if report.ok else str(report)


def trained(task: str, path: Path) -> str:
    """What training raises before its first step; "" where it starts."""
    config = config_of(task, path)
    try:
        splits = table.room(task).setup(config, torch.device("cpu")).splits
        assert splits is not None
        judge_data(check_data(splits), splits.classes, config, lambda text, warning: None)
    except (DataError, ImageError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("task", "spoil", "named"), CASES)
def test_what_one_refuses_the_other_names(task: str, spoil, named: str, tmp_path: Path) -> None:
    path = write_table(tmp_path, task)
    assert checked(task, path) == trained(task, path) == ""
    spoil(path)
    assert named in checked(task, path)
    assert named in trained(task, path)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda root: picture(root / "train" / "9.png", 9), "9.png"),
        (lambda root: picture(root / "val" / "fish" / "9.png", 9), "no training images of fish"),
        (lambda root: (root / "train" / "fish").mkdir(), "no training images of fish"),
        (lambda root: [(root / "train" / name).unlink() for name in ("cat/0.png", "dog/1.png")], "no train split"),
        (lambda root: (root / "train" / "cat" / "0.png").write_bytes(b""), "0.png"),
        (lambda root: picture(root / "train" / "dog" / "5.png", 0), "cat/0.png = train:train/dog/5.png"),
    ],
    ids=["loose", "only in val", "empty folder", "no training images", "empty file", "copies"],
)  # fmt: skip
def test_folders_of_classes(spoil, named: str, tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    assert checked("classification", root) == trained("classification", root) == ""
    spoil(root)
    assert named in checked("classification", root)
    assert named in trained("classification", root)


@pytest.mark.parametrize("task", TABLES)
def test_data_to_measure_on_needs_no_training_images(task: str, tmp_path: Path) -> None:
    path = write_table(tmp_path, task)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{lines[0]},split", *(f"{text},test" for text in lines[1:])]))
    assert "no train" in checked(task, path)
    assert "no train" in trained(task, path)
    room = table.room(task)
    (tmp_path / "whole").mkdir()
    model = room.setup(config_of(task, write_table(tmp_path / "whole", task)), torch.device("cpu")).start
    splits = room.open_data(str(path), WHOLE, model)
    assert {split: len(part) for split, part in splits.parts.items()} == {"test": 4}
    assert len(room.eval_dataset(splits.parts["test"], model).source) == 4
