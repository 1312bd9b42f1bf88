"""What a file states about a size is compared with what it holds, before memory is reserved; and what is no file is not
waited for."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks
from safetensors.torch import load_file, save_file
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from saccade.checkpoints.loading import load_model
from saccade.checkpoints.reading import read_json, read_tensors
from saccade.data.config import DataConfig
from saccade.data.image_folder import open_data
from saccade.data.images import read_image
from saccade.data.preprocessing import Preprocessing
from saccade.data.texts import open_texts, open_translations
from saccade.errors import CheckpointError, ConfigError, DataError, ImageError, SaccadeError
from saccade.files import read_bytes, split_lines
from saccade.json_io import dump_json
from saccade.nn.matmul_precision import matmul_precision
from saccade.tasks.dense.maps import read_depth
from saccade.tasks.detection.segmentations import rasterize, segmentation_problem
from saccade.tasks.detection.sources import open_boxes
from saccade.training.config import read_config
from saccade.yaml_io import parse_yaml
from tests.hostile.readers import COCO, MODEL

SIZE = (6, 4)  # width, height


def test_a_thin_image_is_not_scaled_to_a_giant(monkeypatch) -> None:
    """The middle is cut out first: the same pixels as of the whole image, scaled and cut."""
    with pytest.raises(ImageError, match="30000 x 1 pixels is too thin"):
        Preprocessing()(Image.new("RGB", (30000, 1)))
    assert Preprocessing(size=(800, 1333), resize="range")(Image.new("RGB", (5000, 1))).shape == (3, 1, 1333)
    pixels = np.random.default_rng(0).integers(0, 256, (5000, 2, 3), dtype=np.uint8)
    preprocessing = Preprocessing((32, 32))
    for thin in (Image.fromarray(pixels), Image.fromarray(pixels.transpose(1, 0, 2).copy())):
        scaled = preprocessing.size_covering(thin.height, thin.width)
        whole = functional.center_crop(functional.resize(thin, list(scaled), InterpolationMode.BICUBIC), [32, 32])
        with monkeypatch.context() as patch:
            patch.setattr("saccade.data.preprocessing.MAX_RESIZED", 10_000)
            np.testing.assert_array_equal(np.asarray(preprocessing.fit(thin)), np.asarray(whole))
    assert Preprocessing()(Image.fromarray(pixels[:, :1])).shape == (3, 224, 224)
    assert Preprocessing()(torch.zeros(3, 1, 5000)).shape == (3, 224, 224)


def test_frames_that_are_damaged_behind_the_first_are_reported(tmp_path: Path, caplog) -> None:
    frames = [Image.new("RGB", (10, 12), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    content = (tmp_path / "a.tif").read_bytes()
    read_image(content, name="whole")
    assert not caplog.text
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(1)
        directory = content.index(b"\x00\x01", image._frame_pos[1])  # type: ignore[attr-defined] # its first tag, the width
    damaged = content[:directory] + b"\x00\x09" + content[directory + 2 :]
    assert read_image(damaged, name="a.tif").size == (10, 12)
    assert "a.tif is damaged after its first frame, which is read" in caplog.text
    # Pillow logs an error of its own about samples, without a name.
    caplog.clear()
    samples = content.index(b"\x15\x01", image._frame_pos[1])  # type: ignore[attr-defined]
    damaged = content[: samples + 8] + b"\x03\xad" + content[samples + 10 :]
    assert read_image(damaged, name="a.tif").size == (10, 12)
    assert [record.getMessage()[:48] for record in caplog.records] == [
        "a.tif is damaged after its first frame, which is"
    ]


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("images", {"width": "abc"}, "image 1 has the width 'abc', which is not a number of pixels"),
        ("images", {"height": -3}, "image 1 has the height -3"),
        ("images", {"height": float("inf")}, "image 1 has the height inf"),
        ("images", {"file_name": None}, "has no file_name"),
        ("annotations", {"bbox": None}, "annotation 1 has no bbox"),
        ("annotations", {"image_id": None}, "annotation 1 has no image_id"),
    ],
)
def test_what_is_wrong_in_coco_is_named(part: str, change: dict, reason: str, tmp_path: Path) -> None:
    entry = {key: value for key, value in {**COCO[part][0], **change}.items() if value is not None}  # type: ignore[dict-item]
    (tmp_path / "instances.json").write_text(json.dumps({**COCO, part: [entry]}))
    Image.new("RGB", (10, 12)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=reason):
        open_boxes(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"Pf\n400000 400000\n-1\n" + bytes(16),
        b"Pf\n-4 -4\n-1\n" + bytes(64),
        b"Pf\n4 4\n-1\n" + bytes(63),
    ],
)
def test_a_pfm_holds_the_pixels_of_its_header(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pfm").write_bytes(content)
    with pytest.raises(ImageError, match="is not a readable depth map"):
        read_depth(tmp_path / "a.pfm", 1.0)


def test_an_npy_holds_the_values_of_its_header(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, 4), np.float32))
    content = (tmp_path / "a.npy").read_bytes()
    for shape in (b"(9, 9)", b"(-4,4)"):
        (tmp_path / "a.npy").write_bytes(content.replace(b"(4, 4)", shape))
        with pytest.raises(ImageError, match=r"its shape|the shape|damaged"):
            read_depth(tmp_path / "a.npy", 1.0)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ({"size": [20000, 20000], "counts": [1]}, "the image has"),
        ({"size": [4, 6], "counts": [25]}, "cover 25 pixels, the image has 24"),
        ({"size": [4, 6], "counts": [1, -1]}, "whole numbers"),
        ({"size": [4, 6], "counts": [0.5]}, "whole numbers"),
        ({"size": [4, 6], "counts": "\ud800"}, "damaged"),
        ({"size": [4, 6], "counts": "p"}, "damaged"),
        ({"size": [4, 6], "counts": "/"}, "damaged"),
        ({"size": [4, 6], "counts": "P" * 14}, "damaged"),
        ({"size": 4, "counts": []}, "of the size 4"),
        ({"counts": []}, "expected"),
        (5, "expected"),
        ("abc", "expected"),
        ([[1, 1, 4, 1, 4]], "5 numbers"),
        ([[1, 1, 4, 1, 4, 4, 2]], "7 numbers"),
        ([[1, 1, 4, 1, 4, "a"]], "list of numbers"),
        ([[1, 1, 4, 1, 4, float("nan")]], "not finite"),
        ([[1, 1, 4, 1, 4, 10**400]], "not finite"),
        ([[1, 1, 4, 1, 4, 1e8]], "reaches"),
        ([[1, 1, -7, 1, 4, 4]], "reaches from -7 to 4, in an image of 6 x 4 pixels"),
        ([[1, 1, 4, 1, 13, 4]], "reaches from 1 to 13"),
        ([5], "list of numbers"),
        ([{}], "list of numbers"),
    ],
)
def test_a_segmentation_is_of_its_image(segmentation: object, reason: str) -> None:
    assert reason in str(segmentation_problem(segmentation, SIZE))


def test_the_forms_of_run_lengths_are_the_same_mask() -> None:
    """Numbers, and the text that pycocotools writes; its own reading of them is the right value."""
    for counts in ([5, 2, 3, 1, 13], [0, 3, 21]):
        numbers = {"size": [4, 6], "counts": counts}
        rle = coco_masks.frPyObjects(numbers, 4, 6)
        text = {"size": [4, 6], "counts": rle["counts"].decode()}
        for segmentation in (numbers, text, rle):
            assert segmentation_problem(segmentation, SIZE) is None
            np.testing.assert_array_equal(rasterize(segmentation, SIZE), coco_masks.decode(rle).astype(bool))


def test_a_polygon_may_reach_a_side_beyond_its_image() -> None:
    assert segmentation_problem([[-6, -4, 12, -4, 12, 8]], SIZE) is None


def test_yaml_aliases_do_not_explode() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12))
    for text, reason in ((bomb, "more than 1,000,000"), ("&a [*a]", "contains it"), ("[" * 5000, "too deeply"),
                         ("a: 1\na: 2", "is repeated"), ("!!python/object:os.x {}", "not readable")):  # fmt: skip
        with pytest.raises(ConfigError, match=reason):
            parse_yaml(text, "a.yaml")
    assert parse_yaml("a: &x {b: 1}\nc: {<<: *x, d: 2}", "a.yaml") == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}


READERS: list[Callable[[Path], object]] = [
    read_image, read_bytes, read_config, read_tensors, read_json, lambda path: open_texts(str(path)),
    lambda path: open_data(str(path.with_suffix(".csv"))), lambda path: read_depth(path, 1.0),
]  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize("number", range(len(READERS)))
def test_pipes_devices_and_loops_are_not_waited_for(number: int, tmp_path: Path) -> None:
    for suffix in (".jpg", ".csv"):
        os.mkfifo(tmp_path / f"pipe{suffix}")
        (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    for name in ("pipe.jpg", "loop.jpg", "x" * 300 + ".jpg", "a\0b.jpg"):
        try:
            result = READERS[number](tmp_path / name)
        except SaccadeError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
        else:
            assert result == {}  # read_json of no file


def test_a_sparse_file_is_not_read_into_memory(tmp_path: Path) -> None:
    with open(tmp_path / "a.jpg", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageError, match="1,099,511,627,776 bytes"):
        read_image(tmp_path / "a.jpg")


def test_a_link_to_its_own_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    with pytest.raises(DataError, match="again is a link to the folder"):
        open_data(str(tmp_path), DataConfig())


def saved(folder: Path) -> Path:
    for name, content in MODEL.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(("key", "value"), [("depth", 10**12), ("num_classes", 2**23),
                                            ("image_size", [2**20, 2**20]), ("num_classes", -1)])  # fmt: skip
def test_a_config_of_a_giant_is_refused_before_it_is_built(key: str, value: object, tmp_path: Path) -> None:
    path = saved(tmp_path) / "config.json"
    content = json.loads(path.read_text())
    content["config"][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="is not a model's config"):
        load_model(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float, tmp_path: Path) -> None:
    path = saved(tmp_path) / "model.safetensors"
    tensors = load_file(path)
    tensors["head.bias"][1] = value
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"head\.bias has values that are NaN or infinite"):
        load_model(tmp_path)


def test_labels_are_as_many_as_outputs(tmp_path: Path) -> None:
    path = saved(tmp_path) / "config.json"
    path.write_text(path.read_text().replace('["a", "b", "c"]', '["a", "b"]'))
    with pytest.raises(CheckpointError, match="2 labels, and the model 3 outputs"):
        load_model(tmp_path)


def test_a_name_that_is_twice_in_safetensors_is_refused(tmp_path: Path) -> None:
    header = (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    )
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\1")
    with pytest.raises(CheckpointError, match="two entries of the name 'a'"):
        read_tensors(tmp_path / "a.safetensors")


def test_a_header_of_a_million_tensors_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = b'{"a":' + b'{},"a":' * 10**6 + b"{}}"
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(CheckpointError, match="the maximum is"):
        read_tensors(tmp_path / "a.safetensors")


def test_a_value_that_is_repeated_over_a_giant_shape_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(2**40)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="fewer values in the file"):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("changes", [{"mean": (float("nan"),) * 3}, {"std": (float("inf"),) * 3},
                                     {"value_range": (0.0, float("nan"))}, {"size": (10**9, 10**9)}])  # fmt: skip
def test_preprocessing_is_finite(changes: dict) -> None:
    with pytest.raises(ConfigError):
        Preprocessing(**changes)


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    assert split_lines("a\u2028b\x0cc\x85d\r\ne\rf\n") == ["a\u2028b\x0cc\x85d", "e", "f"]
    rows = "".join(f'"one\n{n}",eins {n}\n' for n in range(12))
    (tmp_path / "a.csv").write_text(f"source,target\n{rows}")
    splits = open_translations(str(tmp_path / "a.csv"))
    assert splits.train.pair(0).source.startswith("one\n")  # type: ignore[attr-defined]


def test_json_has_escapes_for_what_no_terminal_prints() -> None:
    text = dump_json({"name": "caf\udce9 \x9b31m \u202e \u2028"}, indent=None)
    assert text == '{"name": "caf\\udce9 \\u009b31m \\u202e \\u2028"}'
    assert json.loads(text) == {"name": "caf\udce9 \x9b31m \u202e \u2028"}


def test_the_precision_of_the_caller_returns_after_all_threads() -> None:
    before, inside, leave = torch.get_float32_matmul_precision(), threading.Event(), threading.Event()

    def other() -> None:
        with matmul_precision("medium"):
            inside.set()
            leave.wait(10)

    with matmul_precision("high"):
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(10)
        assert torch.get_float32_matmul_precision() == "high"  # the more exact of the two
    assert torch.get_float32_matmul_precision() == "medium"
    leave.set()
    thread.join()
    assert torch.get_float32_matmul_precision() == before
