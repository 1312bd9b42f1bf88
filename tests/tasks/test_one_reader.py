"""`saccade data check` and training read data with the same code: what one refuses, the other names."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saccade.data.check import check_data
from saccade.data.config import DataConfig
from saccade.errors import DataError, ImageError
from saccade.tasks import table
from saccade.training.config import RunConfig, resolve
from saccade.training.preflight import check_before, judge_data
from tests.opens.boxes import coco, voc, write_coco, write_voc, write_yolo
from tests.opens.captions import write_coco as write_captions
from tests.opens.captions import write_csv
from tests.opens.data import written
from tests.opens.maps import write_camvid, write_depth, write_numbers, write_png

WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)
write_masks = write_numbers("{split}/images/{name}.jpg", "{split}/masks/{name}.png")


def cut(path: Path) -> None:
    """Keep the header, lose half of the pixels."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)


def case(
    name: str,
    task: str,
    write: Callable[[Path], Path],
    spoil: Callable[[Path], object],
    named: str,
    refuses: bool = True,
) -> object:
    """Args: `named`, what both must print; `refuses`, whether it is an error in training, not a note."""
    return pytest.param(task, write, spoil, named, refuses, id=f"{task}-{name}")


yolo = write_yolo("data.yaml", "images/{split}/{name}.jpg", "labels/{split}/{name}.txt", "0 0.5 0.5 0.5 0.5")


def coco_box(box: list[float]) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        content = coco("a.jpg")
        content["annotations"].append({**content["annotations"][0], "id": 2, "bbox": box})
        written(root / "annotations" / "instances_train2017.json", content)

    return spoil


def black(path: str, value: int, dtype: type = np.uint8) -> Callable[[Path], object]:
    return lambda root: write_png(root / path, np.full((60, 80), value, dtype))


def without_caption(root: Path) -> None:
    written(root / "captions.csv", "image,caption\na.jpg,\n")


CASES = [
    case("cut image", "detection", write_coco, lambda root: cut(root / "train2017/a.jpg"), "a.jpg"),
    case("turned", "detection", write_coco, lambda root: turned(root / "train2017/a.jpg"), "another image"),
    case(
        "another size",
        "detection",
        write_voc,
        lambda root: written(root / "Annotations/a.xml", voc("a.jpg").replace("<width>80", "<width>160")),
        "another image",
    ),
    case("no class", "detection", yolo, lambda root: written(root / "labels/train/a.txt", "3 .5 .5 .5 .5"), "class 3"),
    case("no number", "detection", write_coco, coco_box([0, 0, float("nan"), 1]), "annotation 2"),
    case("no area", "detection", write_coco, coco_box([5, 5, 0, 4]), "without area", refuses=False),
    case("outside", "detection", write_coco, coco_box([70, 50, 40, 40]), "beyond the edges", refuses=False),
    case("cut image", "segmentation", write_masks, lambda root: cut(root / "train/images/a.jpg"), "a.jpg"),
    case("cut mask", "segmentation", write_masks, lambda root: cut(root / "train/masks/a.png"), "a.png"),
    case("unknown number", "segmentation", write_masks, black("train/masks/a.png", 7), "class number 7"),
    case("unknown colour", "segmentation", write_camvid, black("train_labels/a_L.png", 7), "colour (7, 7, 7)"),
    case("no class at all", "segmentation", write_masks, black("train/masks/a.png", 255), "a.jpg", refuses=False),
    case(
        "another size",
        "segmentation",
        write_masks,
        lambda root: write_png(root / "train/masks/a.png", np.zeros((30, 40), np.uint8)),
        "same size",
    ),
    case("turned", "segmentation", write_masks, lambda root: turned(root / "train/images/a.jpg"), "same size"),
    case("no value", "depth", write_depth(".png"), black("train/depth/a.png", 0, np.uint16), "no depth at all"),
    case("damaged", "depth", write_depth(".npy"), lambda root: written(root / "train/depth/a.npy", b"no"), "a.npy"),
    case("cut image", "depth", write_depth(".pfm"), lambda root: cut(root / "train/images/a.jpg"), "a.jpg"),
    case("cut image", "contrastive", write_captions, lambda root: cut(root / "train2017/a.jpg"), "a.jpg"),
    case("cut image", "seq2seq", write_csv, lambda root: cut(root / "images/a.jpg"), "a.jpg"),
    case("no caption", "contrastive", write_csv, without_caption, "line 2"),
    case("no image", "contrastive", write_captions, lambda root: (root / "train2017/a.jpg").unlink(), "a.jpg"),
]  # fmt: skip


def config_of(task: str, path: Path) -> RunConfig:
    config = resolve(overrides={"task": task, "data.path": str(path)})
    return replace(config, data=replace(config.data, val_fraction=0.0, test_fraction=0.0))


@pytest.mark.parametrize(("task", "write", "spoil", "named", "refuses"), CASES)
def test_what_one_refuses_the_other_names(task, write, spoil, named: str, refuses: bool, tmp_path: Path) -> None:
    path = write(tmp_path)
    room, config = table.room(task), config_of(task, path)
    lines: list[str] = []
    splits = room.open_data(str(path), WHOLE)
    judge_data(check_data(splits), splits.classes, config, lambda text, warning: lines.append(text))
    assert room.check(str(path)).ok  # whole data passes both
    assert named not in " ".join(lines)
    spoil(tmp_path)

    try:
        report = room.check(str(path))
        assert not report.ok
        checked = str(report)
    except DataError as error:
        checked = str(error)
    assert named in checked

    warnings: list[str] = []
    try:
        splits = room.open_data(str(path), WHOLE)
        judge_data(
            check_data(splits), splits.classes, config, lambda text, warning: warnings.append(text) if warning else None
        )
        trained = " ".join(warnings)
        assert not refuses
    except (DataError, ImageError) as error:
        trained = str(error)
        assert refuses
    assert named in trained


def test_skipped_files_are_named_by_both(tmp_path: Path) -> None:
    root = write_masks(tmp_path)
    write_png(root / "train" / "masks" / "alone.png", np.zeros((60, 80), np.uint8))
    room = table.room("segmentation")
    plan: Any = SimpleNamespace(
        setup=SimpleNamespace(splits=room.open_data(str(root), WHOLE)), model=None, recomputed=(), workers=0
    )
    lines: list[str] = []
    config = replace(config_of("segmentation", root), preflight=False)
    check_before(config, plan, Any, lambda text, warning: lines.append(text))
    assert "alone.png" in " ".join(lines)
    assert "alone.png" in str(room.check(str(root)))
    assert "alone.png" in json.dumps(room.check(str(root)).to_dict())


@pytest.mark.parametrize("task", ["detection", "segmentation", "depth", "contrastive"])
def test_own_data_is_checked_before_a_run(task: str, tmp_path: Path) -> None:
    """The recipes of these tasks begin from composed data, which needs no check."""
    writers = {"detection": write_coco, "segmentation": write_masks, "depth": write_depth(".png")}
    path = writers.get(task, write_captions)(tmp_path)
    config = replace(config_of(task, path), preflight=False)
    splits = table.room(task).open_data(str(path), WHOLE)
    plan: Any = SimpleNamespace(setup=SimpleNamespace(splits=splits), model=None, recomputed=(), workers=0)
    lines: list[str] = []
    check_before(config, plan, Any, lambda text, warning: lines.append(text))
    assert set(splits.notes) <= set(lines)
    assert "data: checked 2 of 2 images" in " ".join(lines)
    assert "unbalanced" not in " ".join(lines)  # two classes of pixels are no classes of images
    cut(next(iter(sorted(tmp_path.rglob("a.jpg")))))
    with pytest.raises(DataError, match=r"a\.jpg"):
        check_before(config, plan, Any, lambda text, warning: None)
