"""Images with captions: every layout, splits by image, errors with the line of the file."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main
from saccade.data.augmentation import EvalTransform
from saccade.data.config import DataConfig, ScenesConfig
from saccade.data.pairs import CaptionFiles, open_pairs
from saccade.data.preprocessing import Preprocessing
from saccade.data.tokenizer import Tokenizer
from saccade.errors import DataError
from saccade.tasks.contrastive.batches import NO_TEXT, CaptionDataset

WHOLE = DataConfig(test_fraction=0.0, val_fraction=0.0)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((10, 12, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(png(40 * number))
    return tmp_path


def captions(source) -> dict[str, tuple[str, ...]]:
    return {name: source.captions(index) for index, name in enumerate(source.names)}


def test_a_table_a_folder_and_lines_of_json_say_the_same(folder: Path) -> None:
    rows = [(f"{n}.png", f"picture {n}, {k}") for n in range(6) for k in range(2)]
    (folder / "captions.csv").write_text("image,caption\n" + "".join(f'{i},"{c}"\n' for i, c in rows))
    (folder / "pairs.tsv").write_text("filepath\ttitle\n" + "".join(f"{i}\t{c}\n" for i, c in rows))
    lines = [{"file": f"{n}.png", "text": [f"picture {n}, 0", f"picture {n}, 1"]} for n in range(6)]
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    expected = {f"{n}.png": (f"picture {n}, 0", f"picture {n}, 1") for n in range(6)}
    for name in ("", "captions.csv", "pairs.tsv", "pairs.jsonl"):
        assert captions(open_pairs(str(folder / name), WHOLE).train) == expected


def test_an_image_is_in_one_split(folder: Path) -> None:
    lines = "".join(f"{n}.png,one\n{n}.png,two\n" for n in range(6))
    (folder / "captions.csv").write_text("image,caption\n" + lines)
    splits = open_pairs(str(folder), DataConfig(test_fraction=0.34, val_fraction=0.17))
    parts = [set(part.names) for part in (splits.train, splits.val, splits.test) if part is not None]
    assert [len(part) for part in parts] == [3, 1, 2]
    assert set.union(*parts) == {f"{n}.png" for n in range(6)}
    (folder / "captions.csv").write_text("image,caption,split\n0.png,one,train\n0.png,two,test\n")
    with pytest.raises(DataError, match="two splits"):
        open_pairs(str(folder))


def test_shards_hold_texts_or_json(tmp_path: Path) -> None:
    members = {"a.png": png(1), "a.txt": b"first\nsecond\n", "b.png": png(2), "b.json": b'{"caption": "third"}'}
    for shard, split in (("train-000.tar", "train"), ("test-000.tar", "test")):
        with tarfile.open(tmp_path / shard, "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        assert split in shard
    splits = open_pairs(str(tmp_path))
    assert list(captions(splits.train).values()) == [("first", "second"), ("third",)]
    assert splits.test is not None
    assert splits.val is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("captions.csv", "image,caption\n0.png,\n", "line 2: image and caption"),
        ("captions.csv", "image,caption\nno.png,a\n", "line 2: there is no no.png in the folder"),
        ("captions.csv", "image,words\n0.png,a\n", "needs the columns"),
        ("captions.csv", "image,caption,split\n0.png,a,later\n", "'later' is not a split"),
        ("pairs.jsonl", '{"image": "0.png", "caption": "a"}\n{"image"', "line 2 is not readable JSON"),
        ("pairs.jsonl", '{"image": "0.png", "caption": ["a", ""]}', "a caption is empty"),
        ("pairs.jsonl", "[1]", "an object with file and caption"),
        ("captions.csv", "image,caption\n", "has a header and no rows"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, name: str, text: str, message: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=message):
        open_pairs(str(folder / name))


def test_no_table_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(png(1))
    (tmp_path / "one.csv").write_text("image,caption\n0.png,a\n")
    assert open_pairs(str(tmp_path / "one.csv"), WHOLE).train.names == ["images/0.png"]
    with pytest.raises(DataError, match=r"neither captions\.csv"):
        open_pairs(str(tmp_path))
    with pytest.raises(DataError, match="there is no"):
        open_pairs(str(tmp_path / "nothing"))


def test_batches_of_tokens(folder: Path) -> None:
    pytest.importorskip("tokenizers")
    (folder / "captions.csv").write_text("image,caption\n0.png,a cat\n0.png,one cat\n1.png,a dog\n")
    source = open_pairs(str(folder), WHOLE).train
    assert isinstance(source, CaptionFiles)
    tokenizer = Tokenizer.train(["a cat", "a dog", "one cat"], 540, 8)
    images = CaptionDataset(source, EvalTransform(Preprocessing((8, 8), crop_pct=1.0)), tokenizer)
    batch, _ = images.collate([images[(0, ())], images[(1, ())]])
    tokens = batch.labels["tokens"]
    longest = int((tokenizer(["a cat", "one cat", "a dog"]) > 0).sum(1).max())
    assert tokens.shape == (2, 2, longest)
    assert tokens[0].equal(tokenizer(["a cat", "one cat"])[:, :longest])
    assert tokens[1, 0].equal(tokenizer("a dog")[0, :longest])
    assert (tokens[1, 1] == NO_TEXT).all()
    drawn = {images[(0, (0, epoch, 0, 0))].captions for epoch in range(20)}
    assert drawn == {("a cat",), ("one cat",)}  # to train with one at a time, not always the same
    assert images[(0, (0, 3, 0, 0))].captions == images[(0, (0, 3, 0, 0))].captions
    images.texts = 2
    assert images[(0, (0, 1, 0, 0))].captions == ("a cat", "one cat")  # in their order
    assert images[(1, (0, 1, 1, 0))].captions == ("a dog", "a dog")


def test_the_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "captions.csv").write_text("image,caption,split\n0.png,a,train\n1.png,b,train\n2.png,c,test\n")
    assert main(["data", "check", str(folder), "--task", "contrastive"]) == 0
    assert "train       2 images\ntest        1 images\n" in capsys.readouterr().out


def test_scenes_have_captions() -> None:
    scenes = ScenesConfig(size=(48, 48), digits=(1, 2), train=4, val=0, test=2)
    splits = open_pairs("scenes", DataConfig(scenes=scenes))
    sample = splits.train.with_captions(1)
    assert sample.captions == splits.train.captions(1)
    assert sample.captions[0].startswith("a ")


def coco_captions(root: Path, *annotations: dict, folder: str = "train2017", name: str = "a.png") -> Path:
    (root / folder).mkdir(parents=True)
    (root / "annotations").mkdir()
    Image.new("RGB", (8, 8)).save(root / folder / "a.png")
    images = [{"id": 7, "file_name": name}, {"id": 8, "file_name": "none.png"}]
    file = root / "annotations" / "captions_train2017.json"
    file.write_text(json.dumps({"images": images, "annotations": list(annotations)}))
    return file


FOX = {"id": 1, "image_id": 7, "caption": " A fox, in the snow. "}


@pytest.mark.parametrize("folder", ["train2017", "images/train2017", "images", "train"])
@pytest.mark.parametrize("name", ["a.png", ".\\a.png"])
def test_captions_of_coco(folder: str, name: str, tmp_path: Path) -> None:
    file = coco_captions(tmp_path, FOX, {**FOX, "id": 2, "caption": "A fox."}, folder=folder, name=name)
    for path in (tmp_path, file):
        splits = open_pairs(str(path))
        assert len(splits.train) == 1
        assert splits.train.captions(0) == ("A fox, in the snow.", "A fox.")
        assert splits.notes == ("read in the layout of COCO", f"skipped: 1 images of {file} without a caption")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, "annotation 1 has no caption or an image"), ({"caption": " "}, "annotation 1: .* is empty"),
        ({"caption": None}, "annotation 1: .* is empty"), ({"image_id": 8}, "names the image none.png, which is"),
    ],
)  # fmt: skip
def test_errors_in_captions_of_coco(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"captions_train2017\.json.*{message}"):
        open_pairs(str(coco_captions(tmp_path, {**FOX, **change})))
