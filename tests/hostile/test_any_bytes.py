"""Whatever bytes stand in a file, reading it gives a result or one line of error: never another exception."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from saccade.checkpoints.reading import read_json, read_tensors
from saccade.data.image_folder import open_data
from saccade.data.images import read_image
from saccade.data.texts import open_translations
from saccade.data.tokenizer import open_tokenizer
from saccade.errors import SaccadeError
from saccade.tasks.detection.sources import open_boxes
from saccade.training.config import read_config

EXAMPLES = 60  # of each reader; derandomised, so that every run tries the same
SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
HOSTILE = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b"9" * 400,
    b"\xe2\x80\xa8", b"\\ud800", b"../../x", b"&a [*a,*a]", b"\r", b'"', b"[" * 3000,
)  # fmt: skip


def picture(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((4, 4, 3), np.uint8))
    return buffer.getvalue()


def torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"head.weight": torch.zeros(2, 3)}}, buffer)
    return buffer.getvalue()


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 12}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0,
                     "segmentation": [[1, 1, 4, 1, 4, 4]]}],
}  # fmt: skip


def boxes(file: Path) -> None:
    (file.parent / "a.png").write_bytes(picture("PNG"))
    source = open_boxes(str(file.parent)).train
    source.with_boxes(0)  # type: ignore[attr-defined]


def labels(file: Path) -> None:
    for name in "abcdef":
        (file.parent / f"{name}.png").write_bytes(picture("PNG"))
    open_data(str(file))


CONFIG = b"task: classification\nseed: 3\noptimizer: {lr: 1e-3, betas: [0.9, 0.999]}\ndata: {path: digits}\n"
LABELS = b"file,label\n" + b"".join(b"%c.png,%s\n" % (c, b"cat" if c % 2 else b"dog") for c in b"abcdef")
PAIRS = "".join(json.dumps({"source": f"one {n}", "target": f"eins {n}"}) + "\n" for n in range(12)).encode()
TSV = b"".join(b"one %d\teins %d\n" % (n, n) for n in range(12))
READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "png": ("a.png", picture("PNG"), read_image),
    "jpeg": ("a.jpg", picture("JPEG"), read_image),
    "gif": ("a.gif", picture("GIF", save_all=True, append_images=[Image.new("RGB", (10, 12), "red")]), read_image),
    "tiff": ("a.tif", picture("TIFF"), read_image),
    "webp": ("a.webp", picture("WEBP"), read_image),
    "bmp": ("a.bmp", picture("BMP"), read_image),
    "npy": ("a.npy", array(), read_image),
    "safetensors": ("a.safetensors", save({"head.weight": torch.zeros(2, 3)}), read_tensors),
    "pth": ("a.pth", torch_file(), read_tensors),
    "config.json": ("config.json", b'{"architecture": "vit", "config": {"depth": 2}}', read_json),
    "config.yaml": ("config.yaml", CONFIG, read_config),
    "coco": ("instances.json", json.dumps(COCO).encode(), boxes),
    "csv": ("labels.csv", LABELS, labels),
    "jsonl": ("pairs.jsonl", PAIRS, lambda file: open_translations(str(file))),
    "tsv": ("pairs.tsv", TSV, lambda file: open_translations(str(file))),
    "tokenizer": ("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}',
                  lambda file: open_tokenizer(file.parent)),
}  # fmt: skip

EDIT = st.tuples(
    st.sampled_from(("flip", "cut", "insert", "replace", "double")),
    st.floats(0, 1),
    st.integers(1, 255),
    st.one_of(st.sampled_from(HOSTILE), st.binary(max_size=16)),
)


def edited(content: bytes, edits: list[tuple[str, float, int, bytes]]) -> bytes:
    for kind, where, number, text in edits:
        at = int(where * len(content))
        if kind == "flip" and content:
            at = min(at, len(content) - 1)
            content = content[:at] + bytes([content[at] ^ number]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + text + content[at:]
        elif kind == "replace":
            content = content[:at] + text + content[at + number :]
        else:
            content = content[:at] + content[at : at + number] + content[at:]
    return content


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", READERS)
def test_a_result_or_one_line(kind: str) -> None:
    name, valid, read = READERS[kind]

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(EDIT, min_size=1, max_size=4))
    def check(edits: list[tuple[str, float, int, bytes]]) -> None:
        with TemporaryDirectory() as folder:
            file = Path(folder) / name
            file.write_bytes(edited(valid, edits))
            try:
                read(file)
            except SaccadeError as error:
                assert len(str(error).splitlines()) == 1, str(error)  # noqa: PT017

    check()


@pytest.mark.parametrize("kind", READERS)
def test_the_content_that_is_edited_is_valid(kind: str, tmp_path: Path) -> None:
    name, valid, read = READERS[kind]
    (tmp_path / name).write_bytes(valid)
    if kind != "tokenizer":  # has no end token
        read(tmp_path / name)
