"""Data sets wherever they lie: the same images, labels and splits from a folder, a zip, a CSV and shards."""

import csv
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from saccade.data.config import DataConfig
from saccade.data.image_folder import open_data
from saccade.data.samples import DataSplits
from saccade.data.shards import write_shards
from saccade.errors import DataError, ImageError
from tests.photos import make_photos


def contents(splits: DataSplits) -> dict[str, list[tuple[bytes, str]]]:
    parts = {name: getattr(splits, name) for name in ("train", "val", "test")}
    return {name: sorted((s.data(i), s.classes[s.labels[i]]) for i in range(len(s))) for name, s in parts.items() if s}


def zipped(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
        archive.writestr("__MACOSX/cat/._0.png", b"rubbish")
    return path


def test_folder_zip_and_shards_hold_the_same(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    here = open_data(str(photos))
    assert here.classes == ("cat", "dog")
    assert [len(p) for p in (here.train, here.val, here.test)] == [14, 2, 4]  # type: ignore[arg-type]
    in_zip = open_data(str(zipped(photos, tmp_path / "photos.zip", prefix="outer/")))
    assert [len(p) for p in (in_zip.train, in_zip.val, in_zip.test)] == [14, 2, 4]  # type: ignore[arg-type]
    paths = write_shards(here, tmp_path / "shards", shard_bytes=4000)
    assert len(paths) > 3
    assert contents(open_data(str(tmp_path / "shards"))) == contents(here)
    assert contents(open_data(str(zipped(photos, tmp_path / "flat.zip")))) == contents(here)


def test_splits_of_its_own(tmp_path: Path) -> None:
    make_photos(tmp_path / "p", ("train", "valid", "test"), count=3)
    splits = open_data(str(tmp_path / "p"))
    assert [len(p) for p in (splits.train, splits.val, splits.test)] == [6, 6, 6]  # type: ignore[arg-type]


def test_train_and_val_only_are_left_as_they_are(tmp_path: Path) -> None:
    make_photos(tmp_path / "p", ("train", "val"), count=5)
    splits = open_data(str(tmp_path / "p"))
    assert (len(splits.train), len(splits.val), splits.test) == (10, 10, None)  # type: ignore[arg-type]


def test_train_and_test_only_get_a_val_cut(tmp_path: Path) -> None:
    make_photos(tmp_path / "p", ("train", "test"), count=10)
    splits = open_data(str(tmp_path / "p"))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (18, 2, 20)  # type: ignore[arg-type]


def test_csv(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=4)
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "split"])
        for path in sorted(photos.rglob("*.png")):
            split = "test" if path.stem == "3" else "val" if path.stem == "2" else "train"
            writer.writerow([path.relative_to(tmp_path), path.parent.name, split])
    splits = open_data(str(tmp_path / "labels.csv"))
    assert [len(p) for p in (splits.train, splits.val, splits.test)] == [4, 2, 2]  # type: ignore[arg-type]
    assert splits.train.image(0).size == (16, 12)


def test_the_split_is_a_function_of_the_seed(tmp_path: Path) -> None:
    photos = str(make_photos(tmp_path / "photos", count=20))
    one, again = open_data(photos), open_data(photos)
    other = open_data(photos, DataConfig(split_seed=1))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert list(one.train.names) == list(again.train.names) != list(other.train.names)
    whole = open_data(photos, DataConfig(val_fraction=0, test_fraction=0))
    assert (len(whole.train), whole.val, whole.test) == (40, None, None)


def test_every_class_keeps_something_to_train_on(tmp_path: Path) -> None:
    splits = open_data(str(make_photos(tmp_path / "p", count=1)), DataConfig(test_fraction=0.9, val_fraction=0.9))
    assert len(splits.train) == 2


def test_the_fingerprint_sees_a_changed_file(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "p")
    before = open_data(str(photos)).fingerprint
    Image.new("RGB", (50, 50)).save(photos / "cat" / "0.png")
    assert open_data(str(photos)).fingerprint != before


def test_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no"):
        open_data(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        open_data(str(tmp_path / "empty"))
    make_photos(tmp_path / "one", classes=("cat",))
    with pytest.raises(DataError, match="a single class"):
        open_data(str(tmp_path / "one"))
    make_photos(tmp_path / "strange", ("train", "test"))
    make_photos(tmp_path / "strange" / "test", classes=("fish",))
    with pytest.raises(DataError, match="no training images of fish"):
        open_data(str(tmp_path / "strange"))
    (make_photos(tmp_path / "hollow") / "fish").mkdir()
    with pytest.raises(DataError, match="no training images of fish"):
        open_data(str(tmp_path / "hollow"))
    photos = make_photos(tmp_path / "loose")
    Image.new("RGB", (4, 4)).save(photos / "stray.png")
    with pytest.raises(DataError, match=r"stray\.png"):
        open_data(str(photos))
    make_photos(tmp_path / "notrain", ("val", "test"))
    with pytest.raises(DataError, match="no train"):
        open_data(str(tmp_path / "notrain"))
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match="not a readable zip"):
        open_data(str(tmp_path / "a.zip"))
    (tmp_path / "b.tar").write_bytes(b"\x1f\x8b nothing")
    with pytest.raises(DataError, match="compressed"):
        open_data(str(tmp_path / "b.tar"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,b", "1,2"], "columns file and label"),
        (["file,label", "nothing.png,cat"], "line 2: there is no"),
        (["file,label", ",cat"], "line 2: file and label"),
        (["file,label,split", "x.png,cat,elsewhere"], "elsewhere"),
    ],
)
def test_a_bad_csv_is_named_by_line(tmp_path: Path, lines: list[str], message: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    (tmp_path / "l.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        open_data(str(tmp_path / "l.csv"))


def test_shards_of_others(tmp_path: Path) -> None:
    """No class names beside them: the numbers are the names."""
    splits = open_data(str(make_photos(tmp_path / "p")))
    write_shards(splits, tmp_path / "s")
    (tmp_path / "s" / "classes.json").unlink()
    assert open_data(str(tmp_path / "s")).classes == ("0", "1")
    (tmp_path / "s" / "classes.json").write_text(json.dumps(["cat"]))
    with pytest.raises(DataError, match="class 1"):
        open_data(str(tmp_path / "s"))


def test_a_cut_off_shard_is_named(tmp_path: Path) -> None:
    splits = open_data(str(make_photos(tmp_path / "p")))
    path = write_shards(splits, tmp_path / "s")[0]
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=path.name):
        open_data(str(tmp_path / "s"))


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "p")
    for path in photos.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    splits = open_data(str(photos))
    with pytest.raises(ImageError, match=splits.train.names[0]):
        splits.train.image(0)
    archive = open_data(str(zipped(photos, tmp_path / "p.zip")))
    with pytest.raises(ImageError, match=r"p\.zip"):
        archive.train.image(0)
