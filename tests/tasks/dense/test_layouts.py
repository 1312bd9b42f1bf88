"""Folders of images and maps: what is skipped is noted, what does not match is an error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.data.config import DataConfig
from saccade.errors import DataError
from saccade.tasks.dense.sources import open_dense
from tests.opens.data import picture, written
from tests.opens.maps import numbers, write_png

WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)


def write(root: Path, image: str = "images/a.jpg", mask: str = "masks/a.png") -> Path:
    picture(root / image)
    write_png(root / mask, numbers())
    written(root / "classes.json", ["sky", "road"])
    return root


def names(root: Path, kind="masks") -> list[str]:
    splits = open_dense(str(root), kind, WHOLE)
    return [f"{split}/{name}" for split, part in splits.parts.items() for name in part.names]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("Images/a.jpg", "Labels/a.png"), ("imgs/a.jpg", "annotations/a.png"), ("image/a.jpg", "gt/a_gt.png"),
        ("JPEGImages/a.jpg", "SegmentationClass/a.png"), ("images/x/a.jpg", "masks/x/a.png"),
        ("images/rgb_001.jpg", "masks/mask_001.png"), ("images/a_sat.jpg", "masks/a_mask.png"), ("a.jpg", "a_mask.png"),
        ("images/a.jpg", "masks/A_mask.tif"), ("images/a.jpg", "masks/a.bmp"),
    ],
)  # fmt: skip
def test_names(image: str, mask: str, tmp_path: Path) -> None:
    assert names(write(tmp_path, image, mask)) == [f"train/{image}"]


def test_what_is_skipped_is_noted(tmp_path: Path) -> None:
    root = write(tmp_path)
    write_png(root / "masks" / "b.png", numbers())
    write_png(root / "labels" / "a.png", numbers())
    written(root / "images" / "notes.txt", "")
    notes = " ".join(open_dense(str(root), "masks", WHOLE).notes)
    assert f"{root / 'masks'} is read, {root / 'labels'} is not" in notes
    assert f"1 maps have no image: {root / 'masks' / 'b.png'}" in notes
    assert f"1 files are no images: {root / 'images' / 'notes.txt'}" in notes


def test_a_split_without_maps_is_noted(tmp_path: Path) -> None:
    root = write(tmp_path, "train_images/a.jpg", "train_masks/a.png")
    picture(root / "test_images" / "b.jpg")
    assert names(root) == ["train/train_images/a.jpg"]
    assert f"skipped: {root / 'test_images'} has no masks" in open_dense(str(root), "masks", WHOLE).notes


def test_errors(tmp_path: Path) -> None:
    root = write(tmp_path / "two", "images/a.jpg", "masks/a_mask.png")
    write_png(root / "masks" / "a_label.png", numbers())
    with pytest.raises(DataError, match=r"a_label\.png and .*a_mask\.png have the same name"):
        open_dense(str(root), "masks")
    root = write(tmp_path / "none", "images/a.jpg", "masks/b.png")
    with pytest.raises(DataError, match=r"a\.jpg has no map: .*masks/a\.png was expected"):
        open_dense(str(root), "masks")
    root = write(tmp_path / "jpeg")
    (root / "masks" / "a.png").unlink()
    Image.fromarray(numbers()).save(root / "masks" / "a.jpg")
    with pytest.raises(DataError, match=r"masks/a\.jpg is of a lossy format"):
        open_dense(str(root), "masks")
    root = write(tmp_path / "voc", "JPEGImages/a.jpg", "SegmentationClass/a.png")
    written(root / "ImageSets" / "Segmentation" / "train.txt", "a\nb\n")
    with pytest.raises(DataError, match=r"train\.txt, line 2: there is no file b"):
        open_dense(str(root), "masks")


def test_the_classes_of_pascal_voc_are_not_assumed_of_other_folders(tmp_path: Path) -> None:
    root = write(tmp_path / "mine", "JPEGImages/a.jpg", "SegmentationClass/a.png")
    write_png(root / "SegmentationClass" / "a.png", np.maximum(numbers(), 3))
    written(root / "ImageSets" / "Segmentation" / "train.txt", "a\n")
    (root / "classes.json").unlink()
    with pytest.raises(DataError, match="no file names the classes"):
        open_dense(str(root), "masks")


@pytest.mark.parametrize("place", ["depth/a.png", "gt/a_depth.png", "depth_maps/sync_depth_a.png"])
def test_depth(place: str, tmp_path: Path) -> None:
    picture(tmp_path / "rgb" / "a.jpg")
    write_png(tmp_path / place, np.full((60, 80), 1500, np.uint16))
    assert names(tmp_path, "depth") == ["train/rgb/a.jpg"]
