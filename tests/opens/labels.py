"""Layouts of images with a class, several labels or a number each."""

from pathlib import Path

from tests.opens.data import Layout, picture, written

CLASSES = ("cat", "dog")
BOTH = {"train/a.jpg": "cat", "train/b.jpg": "dog", "val/c.jpg": "cat", "val/d.jpg": "dog"}


def write_splits(root: Path) -> Path:
    for name in ("Training/cat/a.jpg", "Training/dog/b.jpg", "valid/cat/c.jpg", "valid/dog/d.jpg"):
        picture(root / name)
    return root


def write_classes(root: Path) -> Path:
    picture(root / "cat" / "a.jpg")
    picture(root / "dog" / "b.jpg")
    return root


def write_table(root: Path) -> Path:
    for name in ("a", "b", "c", "d"):
        picture(root / "images" / f"{name}.jpg")
    rows = "images/a.jpg,cat,train\nimages\\b.jpg,dog,train\nimages/c.jpg,cat,val\nimages/d.jpg,dog,val\n"
    return written(root / "labels.csv", f"file,label,split\n{rows}")


LAYOUTS = [
    Layout(
        "classification",
        "a folder for each class",
        write_classes,
        {"train/a.jpg": "cat", "train/b.jpg": "dog"},
        CLASSES,
        "split with a seed, stratified by class",
    ),
    Layout(
        "classification",
        "a folder for each split",
        write_splits,
        BOTH,
        CLASSES,
        "`train`, `training_set`, `val`, `dev`, `eval`, `test`, `holdout` and the like, in any capital letters",
    ),
    Layout(
        "classification",
        "CSV, TSV",
        write_table,
        BOTH,
        CLASSES,
        "separated by commas, semicolons, tabs or bars, with or without that header; paths relative to the table",
    ),
]
