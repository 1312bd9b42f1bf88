"""Layouts of images with a class, several labels or a number each."""

import io
import json
import tarfile
from pathlib import Path

from tests.opens.data import Layout, picture, written

CLASSES = ("cat", "dog")
GOLDFISH, TABBY = "goldfish, Carassius auratus", "tabby, tabby cat"  # of words.txt
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


def write_ids(root: Path) -> Path:
    for name in ("a", "b"):
        picture(root / "train" / f"{name}.jpg")
    return written(root / "train.csv", "id,label\na,cat\nb,dog\n")


def write_metadata(root: Path) -> Path:
    for split, names in (("train", "ab"), ("validation", "cd")):
        for name in names:
            picture(root / split / f"{name}.jpg")
        rows = [{"file_name": f"{name}.jpg", "label": BOTH[f"{PARTS[split]}/{name}.jpg"]} for name in names]
        written(root / split / "metadata.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    return root


PARTS = {"train": "train", "validation": "val"}


def write_parquet(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(CLASSES)},
    }
    (root / "data").mkdir()
    for split, names in (("train", "ab"), ("validation", "cd")):
        images = []
        for name in names:
            path = picture(root / f"{name}.jpg")
            images.append({"bytes": path.read_bytes(), "path": path.name})
            path.unlink()
        numbers = [CLASSES.index(BOTH[f"{PARTS[split]}/{name}.jpg"]) for name in names]
        rows = pa.table({"image": images, "label": numbers})
        rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pyarrow.parquet.write_table(rows, root / "data" / f"{split}-00000-of-00001.parquet")
    return root


def write_webdataset(root: Path) -> Path:
    for split, names in (("train", "ab"), ("val", "cd")):
        with tarfile.open(root / f"{split}-000000.tar", "w") as archive:
            for name in names:
                path = picture(root / f"{name}.jpg")
                for ending, content in (("jpg", path.read_bytes()), ("cls", BOTH[f"{split}/{name}.jpg"].encode())):
                    member = tarfile.TarInfo(f"{name}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                path.unlink()
    return root


def write_tiny_imagenet(root: Path) -> Path:
    for number, name in enumerate(("n01443537", "n02123045")):
        picture(root / "train" / name / "images" / f"{name}_0.JPEG")
        picture(root / "val" / "images" / f"val_{number}.JPEG")
    rows = "val_0.JPEG\tn02123045\t0\t0\t9\t9\nval_1.JPEG\tn01443537\t0\t0\t9\t9\n"
    written(root / "val" / "val_annotations.txt", rows)
    written(root / "words.txt", f"n01443537\t{GOLDFISH}\nn02123045\t{TABBY}\n")
    return root


def write_label_lists(root: Path) -> Path:
    for name in ("a", "b"):
        picture(root / "images" / f"{name}.jpg")
    return written(root / "labels.csv", "file,labels\nimages/a.jpg,rain;night\nimages/b.jpg,\n")


def write_label_columns(root: Path) -> Path:
    for name in ("a", "b"):
        picture(root / "images" / f"{name}.jpg")
    return written(root / "labels.csv", "file,night,rain\nimages/a.jpg,1,1\nimages/b.jpg,0,0\n")


def write_values(root: Path) -> Path:
    for name in ("a", "b"):
        picture(root / "images" / f"{name}.jpg")
    return written(root / "values.csv", "file,value\nimages/a.jpg,1.5\nimages/b.jpg,-2\n")


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
    Layout(
        "classification",
        "a table of ids next to the folder",
        write_ids,
        {"train/a.jpg": "cat", "train/b.jpg": "dog"},
        CLASSES,
        "as Kaggle has it: names without their ending; also JSON Lines",
    ),
    Layout(
        "classification",
        "`metadata.jsonl`",
        write_metadata,
        BOTH,
        CLASSES,
        "Hugging Face's image folder; one file for all splits or one each, also `metadata.csv`",
    ),
    Layout(
        "classification",
        "Parquet of Hugging Face",
        write_parquet,
        {"train/0": "cat", "train/1": "dog", "val/0": "cat", "val/1": "dog"},
        CLASSES,
        "with `pip install saccade[arrow]`; also the folders of `save_to_disk`",
        extra="pyarrow",
    ),
    Layout(
        "classification",
        "WebDataset",
        write_webdataset,
        BOTH,
        CLASSES,
        "`.cls`, `.json` or `.txt` next to the image, names or numbers; a folder of tars, `{000..009}`, `::`",
    ),
    Layout(
        "classification",
        "Tiny-ImageNet",
        write_tiny_imagenet,
        {
            "train/n01443537_0.JPEG": GOLDFISH,
            "train/n02123045_0.JPEG": TABBY,
            "val/val_0.JPEG": TABBY,
            "val/val_1.JPEG": GOLDFISH,
        },
        (GOLDFISH, TABBY),
        "names of `words.txt` where it is there",
    ),
    Layout(
        "multilabel",
        "labels in one column",
        write_label_lists,
        {"train/a.jpg": [1, 1], "train/b.jpg": [0, 0]},
        ("night", "rain"),
        "separated by `;` or `|`",
    ),
    Layout(
        "multilabel",
        "a column for each label",
        write_label_columns,
        {"train/a.jpg": [1, 1], "train/b.jpg": [0, 0]},
        ("night", "rain"),
        "1 and 0",
    ),
    Layout(
        "regression",
        "CSV, TSV",
        write_values,
        {"train/a.jpg": 1.5, "train/b.jpg": -2.0},
        (),
        "as for classes, with numbers in the column `value`",
    ),
]
