"""Images with fields, for every task: tables, imagefolder, Parquet and Arrow, WebDataset, Tiny-ImageNet."""

import importlib
import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saccade.data.check import check_data
from saccade.data.config import DataConfig
from saccade.data.image_folder import open_data, open_unlabelled
from saccade.data.pairs import open_pairs
from saccade.data.samples import DataSplits
from saccade.data.webdataset import expand_braces
from saccade.errors import DataError
from saccade.tasks.multilabel.sources import open_multilabel
from saccade.tasks.regression.sources import open_values

pa: Any = pytest.importorskip("pyarrow")
pq: Any = importlib.import_module("pyarrow.parquet")

WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, "PNG")
    return buffer.getvalue()


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(shade))


def labels_of(splits: DataSplits) -> dict[str, dict[int, str]]:
    """split -> shade of the image -> class."""
    parts: dict[str, Any] = splits.parts
    return {
        split: {part.image(i).getpixel((0, 0))[0]: splits.classes[part.labels[i]] for i in range(len(part))}
        for split, part in parts.items()
    }


# -------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("file,label\nphotos/0.png,cat\nphotos/1.png,dog\n", ()),
        ("file,label\n0.png,cat\n1.png,dog\n", ("images of labels.csv are in photos",)),
        ("id,breed\n0,cat\n1,dog\n", ("images of labels.csv are in photos", "classes are those of the column breed")),
        ("image_name,category\nphotos\\0,cat\n.\\photos\\1.png,dog\n", ("images of labels.csv are in photos",)),
    ],
    ids=["paths", "names", "Kaggle", "backslashes"],
)
def test_the_files_that_a_table_names(text: str, notes: tuple[str, ...], tmp_path: Path) -> None:
    for shade in range(2):
        picture(tmp_path / "photos" / f"{shade}.png", shade)
    (tmp_path / "labels.csv").write_text(text)
    splits = open_data(str(tmp_path / "labels.csv"), WHOLE)
    assert labels_of(splits) == {"train": {0: "cat", 1: "dog"}}
    assert splits.notes == notes


def test_a_name_that_two_folders_have_is_an_error(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        picture(tmp_path / folder / "0.png")
    (tmp_path / "labels.csv").write_text("file,label\n0.png,cat\n")
    with pytest.raises(DataError, match=r"line 2: 0\.png can be a/0\.png or b/0\.png"):
        open_data(str(tmp_path / "labels.csv"), WHOLE)


def test_several_columns_that_could_be_the_class(tmp_path: Path) -> None:
    picture(tmp_path / "0.png")
    (tmp_path / "labels.csv").write_text("file,breed,colour\n0.png,cat,red\n")
    with pytest.raises(DataError, match=r"needs the columns file and label .* it has file, breed, colour"):
        open_data(str(tmp_path / "labels.csv"), WHOLE)


# -------------------------------------------------------------------------------------------------------- imagefolder


def test_metadata_of_each_split(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "validation")):
        rows = []
        for index, label in enumerate(("cat", "dog")):
            shade = 10 * number + index
            picture(tmp_path / split / f"{index}.png", shade)
            rows.append({"file_name": f"{index}.png", "label": label, "text": f"a {label}", "tags": [label, "pet"]})
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    picture(tmp_path / "train" / "stray.png", 99)
    splits = open_data(str(tmp_path), WHOLE)
    assert labels_of(splits) == {"train": {0: "cat", 1: "dog"}, "val": {10: "cat", 11: "dog"}}
    assert "skipped 1 images that the metadata does not name, such as train/stray.png" in splits.notes
    assert [open_pairs(str(tmp_path), WHOLE).train.captions(i) for i in range(2)] == [("a cat",), ("a dog",)]
    several = open_multilabel(str(tmp_path), WHOLE)
    assert several.classes == ("cat", "dog", "pet")
    assert several.train.targets.tolist() == [[True, False, True], [False, True, True]]


def test_metadata_of_the_whole(tmp_path: Path) -> None:
    for shade, name in enumerate(("train/0.png", "train/1.png", "test/0.png")):
        picture(tmp_path / name, shade)
    (tmp_path / "metadata.csv").write_text(
        'file_name,label,caption,value\ntrain/0.png,cat,"red, round",1.5\ntrain/1.png,dog,blue,-2\n'
        "test/0.png,cat,red,0\n"
    )
    assert labels_of(open_data(str(tmp_path), WHOLE)) == {"train": {0: "cat", 1: "dog"}, "test": {2: "cat"}}
    assert open_pairs(str(tmp_path), WHOLE).train.captions(0) == ("red, round",)
    assert open_values(str(tmp_path), WHOLE).train.values.tolist() == [1.5, -2.0]


def test_captions_beside_class_folders_leave_the_classes(tmp_path: Path) -> None:
    rows = []
    for shade, label in enumerate(("cat", "dog")):
        picture(tmp_path / "train" / label / "0.png", shade)
        rows.append(json.dumps({"file_name": f"{label}/0.png", "text": "a pet"}))
    (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(rows))
    assert labels_of(open_data(str(tmp_path), WHOLE)) == {"train": {0: "cat", 1: "dog"}}
    assert open_pairs(str(tmp_path), WHOLE).train.captions(0) == ("a pet",)


# --------------------------------------------------------------------------------------------------- Parquet and Arrow

FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["zebra", "ant"], "_type": "ClassLabel"},
    "tags": {"feature": {"names": ["wild", "small"], "_type": "ClassLabel"}, "_type": "List"},
    "caption": {"dtype": "string", "_type": "Value"},
}


def arrow_table(shades: range, label: int | None = None) -> Any:
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64()),
            ("tags", pa.list_(pa.int64())), ("caption", pa.string()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
    )  # fmt: skip
    rows = [
        {
            "image": {"bytes": png(shade), "path": None},
            "label": shade % 2 if label is None else label,
            "tags": [0, 1] if shade % 2 else [],
            "caption": f"shade {shade}, plain",
        }
        for shade in shades
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def save_to_disk(folder: Path, table: Any) -> None:
    folder.mkdir(parents=True)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as out,
    ):
        out.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def arrow_folder(root: Path) -> Path:
    for split, table in (("train", arrow_table(range(6))), ("test", arrow_table(range(6, 8)))):
        save_to_disk(root / split, table)
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return root


def parquet_folder(root: Path) -> Path:
    (root / "data").mkdir(parents=True)
    pq.write_table(arrow_table(range(3)), root / "data" / "train-00000-of-00002-abc.parquet", row_group_size=2)
    pq.write_table(arrow_table(range(3, 6)), root / "data" / "train-00001-of-00002-abc.parquet", row_group_size=2)
    pq.write_table(arrow_table(range(6, 8)), root / "data" / "test-00000-of-00001-abc.parquet")
    return root


@pytest.mark.parametrize("make", [arrow_folder, parquet_folder])
def test_data_sets_of_hugging_face(make: Any, tmp_path: Path) -> None:
    path = str(make(tmp_path / "data_set"))
    splits = open_data(path, WHOLE)
    assert splits.classes == ("zebra", "ant")
    train = {shade: ("zebra", "ant")[shade % 2] for shade in range(6)}
    assert labels_of(splits) == {"train": train, "test": {6: "zebra", 7: "ant"}}
    assert check_data(splits).ok
    copy = pickle.loads(pickle.dumps(splits.train))  # for the workers of a loader
    assert copy.data(5) == splits.train.data(5) == png(5)
    assert open_pairs(path, WHOLE).train.captions(1) == ("shade 1, plain",)
    several = open_multilabel(path, WHOLE)
    assert several.classes == ("small", "wild")
    assert several.train.targets.tolist() == [[False, False], [True, True]] * 3
    assert len(open_unlabelled(path, WHOLE).train) == 6


def test_an_arrow_file_without_metadata_has_its_class_names_beside_it(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "data", arrow_table(range(2)).replace_schema_metadata(None))
    assert labels_of(open_data(str(tmp_path / "data"), WHOLE)) == {"train": {0: "zebra", 1: "ant"}}


def test_without_metadata_the_images_are_the_column_of_bytes(tmp_path: Path) -> None:
    """Also where the bytes are in a struct; a struct of texts is none."""
    table = arrow_table(range(2)).replace_schema_metadata(None).drop_columns(["tags"])
    source = pa.array([{"site": "a"}, {"site": "b"}])
    pq.write_table(table.add_column(0, "source", source), tmp_path / "train.parquet")
    splits = open_unlabelled(str(tmp_path / "train.parquet"), WHOLE)
    assert [splits.train.data(index) for index in range(2)] == [png(0), png(1)]


def test_classes_that_are_not_published_are_left_out_and_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    pq.write_table(arrow_table(range(4)), root / "train.parquet")
    pq.write_table(arrow_table(range(4, 6), label=-1), root / "test.parquet")
    splits = open_data(str(root), WHOLE)
    assert set(splits.parts) == {"train"}
    assert "skipped 2 images whose class is not published (-1)" in splits.notes


def test_a_number_without_a_name_is_an_error(tmp_path: Path) -> None:
    pq.write_table(arrow_table(range(2), label=5), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet, row 0: has class 5, but there are 2 names"):
        open_data(str(tmp_path / "train.parquet"), WHOLE)


def test_two_configurations_are_an_error(tmp_path: Path) -> None:
    for name in ("easy", "hard"):
        (tmp_path / name / "train").mkdir(parents=True)
        pq.write_table(arrow_table(range(2)), tmp_path / name / "train" / "0000.parquet")
    with pytest.raises(DataError, match="several data sets: give one of easy, hard"):
        open_data(str(tmp_path), WHOLE)
    assert labels_of(open_data(str(tmp_path / "easy"), WHOLE)) == {"train": {0: "zebra", 1: "ant"}}


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(arrow_table(range(2)), tmp_path / "train.parquet")
    original = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(DataError, match=r"train\.parquet is read by pyarrow.*pip install 'saccade\[arrow\]'"):
        open_data(str(tmp_path), WHOLE)


def test_a_damaged_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"train\.parquet cannot be read"):
        open_data(str(tmp_path), WHOLE)


# --------------------------------------------------------------------------------------------------------- WebDataset


def write_tar(path: Path, members: dict[str, bytes | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ({"cls": "{}"}, ["cat", "dog"]),
        ({"cls": "{name}\n"}, None),
        ({"cls.txt": "{}"}, ["cat", "dog"]),
        ({"json": '{{"label": {}, "width": 8}}'}, ["cat", "dog"]),
        ({"json": '{{"Label": "{name}"}}', "txt": "a picture of {name} {}"}, None),
        ({"txt": "{name}"}, None),
    ],
    ids=["numbers", "names", "cls.txt", "numbers in JSON", "names in JSON", "text"],
)  # fmt: skip
def test_labels_of_tars(label: dict[str, str], names: list[str] | None, tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {}
    for index in range(6):
        members[f"k/{index:03d}.png"] = png(index)
        for suffix, text in label.items():
            members[f"k/{index:03d}.{suffix}"] = text.format(index % 2, name=("cat", "dog")[index % 2])
    write_tar(tmp_path / "shard.tar", members)
    if names:
        (tmp_path / "classnames.txt").write_text("\n".join(names))
    splits = open_data(str(tmp_path), WHOLE)
    assert labels_of(splits) == {"train": {index: ("cat", "dog")[index % 2] for index in range(6)}}


def test_one_sample_has_one_image(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.zeros((8, 8), np.uint8))
    members: dict[str, bytes | str] = {}
    for index in range(2):
        sample = {"jpg": png(index), "npy": array.getvalue(), "seg.png": png(99), "cls": str(index)}
        members |= {f"{index}.{suffix}": content for suffix, content in sample.items()}
    members |= {"a.b.png": png(2), "a.b.cls": "0", "a.c.png": png(3), "a.c.cls": "1"}  # dots in their keys
    write_tar(tmp_path / "train.tar", members)
    assert labels_of(open_data(str(tmp_path), WHOLE)) == {"train": {0: "0", 1: "1", 2: "0", 3: "1"}}
    write_tar(tmp_path / "train.tar", {"0.left.png": png(0), "0.right.png": png(1), "0.cls": "0"})
    with pytest.raises(DataError, match=r"0 has several images, 0\.left\.png, 0\.right\.png: name the input KEY\.jpg"):
        open_data(str(tmp_path), WHOLE)


def test_many_tars(tmp_path: Path) -> None:
    for shade, name in enumerate(("a-train-00.tar", "a-train-01.tar", "a-val-00.tar")):
        write_tar(tmp_path / name, {"0.png": png(shade), "0.cls": "cat", "1.png": png(shade + 10), "1.cls": "dog"})
    train = {0: "cat", 10: "dog", 1: "cat", 11: "dog"}
    for pattern in ("a-train-{00..01}.tar", "a-train-*.tar"):
        assert labels_of(open_data(str(tmp_path / pattern), WHOLE)) == {"train": train}
    assert labels_of(open_data(str(tmp_path), WHOLE)) == {"train": train, "val": {2: "cat", 12: "dog"}}
    both = f"{tmp_path}/a-train-00.tar::{tmp_path}/a-val-00.tar"
    assert labels_of(open_data(both, WHOLE)) == {"train": {0: "cat", 10: "dog"}, "val": {2: "cat", 12: "dog"}}
    with pytest.raises(DataError, match=r"there is no .*a-train-02\.tar"):
        open_data(str(tmp_path / "a-train-{00..02}.tar"), WHOLE)
    for split in ("train", "test"):
        write_tar(
            tmp_path / "folders" / split / "0.tar", {"0.png": png(0), "0.cls": "cat", "1.png": png(1), "1.cls": "dog"}
        )
    assert set(open_data(str(tmp_path / "folders"), WHOLE).parts) == {"train", "test"}


def test_texts_of_tars_that_are_captions_are_no_classes(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {f"{i}.{s}": c for i in range(4) for s, c in (("png", png(i)), ("txt", f"cat {i}"))})
    with pytest.raises(DataError, match="4 images have 4 different texts, which are captions"):
        open_data(str(tmp_path), WHOLE)
    assert len(open_pairs(str(tmp_path), WHOLE).train) == 4


def test_braces() -> None:
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{train,val}-{0..1}") == ["train-0", "train-1", "val-0", "val-1"]
    assert expand_braces("{2..0}") == ["2", "1", "0"]
    with pytest.raises(DataError, match="more than 1,000,000 files"):
        expand_braces("{0..99999999}")


# ------------------------------------------------------------------------------------------------------ Tiny-ImageNet


def tiny_imagenet(root: Path) -> Path:
    for number, synset in enumerate(("n01443537", "n01882714")):
        picture(root / "train" / synset / "images" / f"{synset}_0.JPEG", number)
        (root / "train" / synset / f"{synset}_boxes.txt").write_text(f"{synset}_0.JPEG\t0\t0\t7\t7\n")
        picture(root / "val" / "images" / f"val_{number}.JPEG", 10 + number)
        picture(root / "test" / "images" / f"test_{number}.JPEG", 20 + number)
    (root / "val" / "val_annotations.txt").write_text(
        "val_0.JPEG\tn01882714\t0\t32\t44\t62\nval_1.JPEG\tn01443537\t52\t55\t57\t59\n"
    )
    (root / "wnids.txt").write_text("n01882714\nn01443537\n")
    return root


def test_tiny_imagenet(tmp_path: Path) -> None:
    root = tiny_imagenet(tmp_path / "tiny-imagenet-200")
    splits = open_data(str(root), WHOLE)
    fish, bear = "n01443537", "n01882714"
    assert labels_of(splits) == {"train": {0: fish, 1: bear}, "val": {10: bear, 11: fish}}
    assert "skipped 2 images without a class, in folders other than train and val" in splits.notes
    (root / "words.txt").write_text(
        f"n00001740\tentity\n{fish}\tgoldfish, Carassius auratus\n{bear}\tkoala, koala bear\n"
    )
    assert open_data(str(tmp_path), WHOLE).classes == ("goldfish, Carassius auratus", "koala, koala bear")
    (root / "val" / "val_annotations.txt").write_text(f"val_0.JPEG\t{bear}\n")
    with pytest.raises(DataError, match=r"val_annotations\.txt has no line for .*val_1\.JPEG"):
        open_data(str(root), WHOLE)
