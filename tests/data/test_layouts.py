"""Folders and tables as people have them: the right classes and splits, or an error that names what to do."""

from pathlib import Path

import pytest
from PIL import Image

from saccade.data.check import check_data
from saccade.data.config import DataConfig
from saccade.data.image_folder import open_data
from saccade.data.pairs import open_pairs
from saccade.data.splits import named_split
from saccade.errors import DataError
from saccade.tasks.multilabel.sources import open_multilabel
from saccade.tasks.regression.sources import open_values

WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), shade).save(path, format="PNG")


def folders(root: Path, *names: str, classes: tuple[str, ...] = ("cats", "dogs")) -> Path:
    for index, name in enumerate(names):
        for number, label in enumerate(classes):
            picture(root / name / label / "0.png", 16 * index + number)
    return root


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"), ("Train", "Valid", "Test"), ("TRAIN", "DEV", "TESTING"),
        ("Training", "eval", "holdout"),
        ("training_set", "validation_set", "test_set"), ("train-images", "val-images", "test-images"),
    ],
)  # fmt: skip
def test_split_folders_by_any_name(names: tuple[str, ...], tmp_path: Path) -> None:
    splits = open_data(str(folders(tmp_path, *names)), WHOLE)
    assert splits.classes == ("cats", "dogs")
    assert {split: len(part) for split, part in splits.parts.items()} == {"train": 2, "val": 2, "test": 2}
    assert "train, val, test" in ", ".join(splits.notes) or "test, train, val" in ", ".join(splits.notes)


def test_words_that_are_no_splits() -> None:
    assert [named_split(name) for name in ("tests", "trainer", "strain", "set", "images", "")] == [None] * 6


def test_splits_under_unknown_names_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fold1, fold2 have the same folders \(cats, dogs\)"):
        open_data(str(folders(tmp_path, "fold1", "fold2")), WHOLE)


def test_other_layouts_are_no_classes(tmp_path: Path) -> None:
    for name in ("images/train/0.png", "images/val/0.png"):
        picture(tmp_path / "yolo" / name)
    with pytest.raises(DataError, match=r"2 of the images in train, val are in no class folders.*--task detection"):
        open_data(str(tmp_path / "yolo"), WHOLE)
    for name in ("images/0.png", "masks/0.png"):
        picture(tmp_path / "masks" / name)
    with pytest.raises(DataError, match=r"images, masks, which are not those of classes.*--task segmentation"):
        open_data(str(tmp_path / "masks"), WHOLE)
    (tmp_path / "classes" / "cats").mkdir(parents=True)
    (tmp_path / "classes" / "cats" / "0.xml").write_text("<annotation/>")  # of ImageNet's dogs, say
    assert open_data(str(folders(tmp_path, "classes") / "classes"), WHOLE).classes == ("cats", "dogs")


def test_skipped_files_are_counted_and_named(tmp_path: Path) -> None:
    folders(tmp_path, ".")
    picture(tmp_path / "cats" / "1.jfif", 77)
    for name in ("notes.txt", "raw.npz", "raw2.npz"):
        (tmp_path / "cats" / name).write_bytes(b"")
    for hidden in ("@eaDir", "__MACOSX", ".cache"):
        picture(tmp_path / hidden / "0.png", 99)
    splits = open_data(str(tmp_path), WHOLE)
    assert splits.classes == ("cats", "dogs")
    assert len(splits.train) == 3
    report = str(check_data(splits))
    assert "skipped 3 files that are not read as images: 2 .npz, 1 .txt; such as cats/notes.txt" in report
    assert "classes cats, dogs" in report


# -------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    "text",
    [
        "file,label\na/0.png,cat\na/1.png,dog\n", "\ufefffile;label\na/0.png;cat\na/1.png;dog\n",
        "file\tlabel\na/0.png\tcat\na/1.png\tdog\n", "a/0.png,cat\na/1.png,dog\n",
        "Image,Class\na\\0.png,cat\na\\1.png,dog\n",
    ],
    ids=["comma", "semicolon with a mark", "tab", "without a header", "backslashes"],
)  # fmt: skip
def test_dialects_of_tables(text: str, tmp_path: Path) -> None:
    for number in range(2):
        picture(tmp_path / "a" / f"{number}.png", number)
    table = tmp_path / "labels.csv"
    table.write_text(text, encoding="utf-8")
    splits = open_data(str(table), WHOLE)
    assert splits.classes == ("cat", "dog")
    assert [Path(name).name for name in splits.train.names] == ["0.png", "1.png"]


def test_dialects_of_captions_and_values(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "0.png")
    table = tmp_path / "table.csv"
    for header, row in (("image;caption\n", "a/0.png;a dog, in the snow\n"), ("", 'a\\0.png,"a dog, in the snow"\n')):
        table.write_text(header + row)
        assert open_pairs(str(table), WHOLE).train.captions(0) == ("a dog, in the snow",)
    for header, row in (("image;value\n", "a/0.png;1.5\n"), ("", "a\\0.png,1.5\n")):
        table.write_text(header + row)
        assert open_values(str(table), WHOLE).train.values.tolist() == [1.5]


def test_several_labels_read_the_same_tables_and_folders(tmp_path: Path) -> None:
    for number in range(2):
        picture(tmp_path / "a" / f"{number}.png", number)
    table = tmp_path / "table.csv"
    table.write_text("file,labels,split\na\\0.png,cat;dog,Training\na\\1.png,dog,test_set\n")
    splits = open_multilabel(str(table), WHOLE)
    assert {split: len(part) for split, part in splits.parts.items()} == {"train": 1, "test": 1}
    splits = open_multilabel(str(folders(tmp_path / "folders", "Training", "test_set")), WHOLE)
    assert splits.train.targets.shape == (2, 2)
    assert {split: len(part) for split, part in splits.parts.items()} == {"train": 2, "test": 2}


@pytest.mark.parametrize("open_table", [open_data, open_pairs, open_values])
def test_rows_that_do_not_fit_are_named(open_table, tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.png", number)
    table = tmp_path / "table.csv"
    column = {open_data: "label", open_pairs: "caption", open_values: "value"}[open_table]
    table.write_text(f"image,{column}\n0.png,1\n1.png,A dog , in the snow .\n2.png,2\n")
    with pytest.raises(DataError, match=r"table\.csv, line 3 has 3 fields, but there are 2 columns"):
        open_table(str(table), WHOLE)
    table.write_text(f'image,{column}\n0.png,"never closed\n1.png,two\n2.png,three\n')
    with pytest.raises(DataError, match=r"table\.csv, line 2: .* is a quote not closed"):
        open_table(str(table), WHOLE)
