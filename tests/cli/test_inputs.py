"""Inputs of `predict`: members of tars and the images of a COCO file are those of a folder."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main
from saccade.cli.predict import expand
from saccade.data.images import read_image
from saccade.errors import DataError, ImageError

MODEL = str(Path(__file__).parents[1] / "golden/runs/classify/model")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def shards(folder: Path, images: Path) -> str:
    """Two tars of two images each, with their labels."""
    for number in range(2):
        with tarfile.open(folder / f"{number}.tar", "w") as archive:
            for path in sorted(images.iterdir())[2 * number : 2 * number + 2]:
                archive.add(path, path.name)
                label = tarfile.TarInfo(f"{path.stem}.cls")
                label.size = 1
                archive.addfile(label, io.BytesIO(b"0"))
    return str(folder / "*.tar")


def coco(folder: Path, images: Path, names: list[str]) -> str:
    (folder / "annotations").mkdir(exist_ok=True)
    file = folder / "annotations/instances_val.json"
    file.write_text(json.dumps({"images": [{"id": n, "file_name": name} for n, name in enumerate(names)]}))
    return str(file)


def test_shards_and_annotations_give_the_rows_of_the_folder(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [path.name for path in sorted(images.iterdir())]
    rows = []
    for argument in (str(images), shards(tmp_path, images), coco(tmp_path, images, names)):
        assert main(["predict", MODEL, argument, "--out", str(tmp_path / f"{len(rows)}.csv")]) == 0
        table = list(csv.reader((tmp_path / f"{len(rows)}.csv").open()))
        rows.append([[Path(row[0]).name, *row[1:]] for row in table])
    assert len(rows[0]) > 4
    assert rows[0] == rows[1] == rows[2]
    capsys.readouterr()


def test_what_is_not_there_is_named(tmp_path: Path, images: Path) -> None:
    shards(tmp_path, images)
    (first, second) = expand(str(tmp_path / "1.tar"))
    assert (first.parent.name, second.name) == ("1.tar", "3.png")
    np.testing.assert_array_equal(read_image(second), read_image(images / "3.png"))
    with pytest.raises(ImageError, match=r"1\.tar has no member 9\.png"):
        read_image(tmp_path / "1.tar/9.png")
    for name, message in (("../images/0.png", "outside of the data set"), ("9.png", "names the image 9.png, which is")):
        with pytest.raises(DataError, match=message):
            list(expand(coco(tmp_path, images, [name])))
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match="is no COCO annotation file"):
        list(expand(str(tmp_path / "a.json")))
