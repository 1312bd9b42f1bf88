"""Whatever bytes stand in a file, reading it gives a result or one line of error: never another exception."""

import ast
import json
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saccade import files
from saccade.errors import SaccadeError
from tests.hostile.readers import READERS

EXAMPLES = 25  # of each reader; derandomised, so that every run tries the same
VALUES = 12  # of each JSON file, one value replaced by a wild one
SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
HOSTILE = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b"9" * 400,
    b"\xe2\x80\xa8", b"\\ud800", b"../../x", b"&a [*a,*a]", b"\r", b'"', b"[" * 3000,
)  # fmt: skip
WILD = (
    None,
    True,
    -1,
    0,
    0.5,
    10**12,
    10**400,
    1e308,
    float("nan"),
    "",
    "abc",
    "\ud800",
    "../../x",
    [],
    [[]],
    [1],
    {},
    {"a": 1},
)
INVALID = ("tokenizer", "merges")  # small vocabularies without an end token


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


def read(kind: str, content: bytes) -> None:
    """Read a file of this content; one line of error is a result."""
    name, _, reader = READERS[kind]
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's and PyTorch's, of damaged files
        file = Path(folder) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        try:
            reader(file)
        except SaccadeError as error:
            assert str(error).strip(), "an error without words"  # noqa: PT017


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", READERS)
def test_a_result_or_one_line(kind: str) -> None:
    @SETTINGS
    @given(st.lists(EDIT, min_size=1, max_size=4))
    def check(edits: list[tuple[str, float, int, bytes]]) -> None:
        read(kind, edited(READERS[kind][1], edits))

    check()


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value inside a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(value: object, path: tuple, new: object) -> object:
    if not path:
        return new
    head, *rest = path
    inner = replaced(value[head], tuple(rest), new)  # type: ignore[index]
    if isinstance(value, dict):
        return {**value, head: inner}
    assert isinstance(value, list)
    return [*value[:head], inner, *value[head + 1 :]]


JSON = [kind for kind, (name, _, _) in READERS.items() if name.endswith(".json")]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", JSON)
def test_any_value_in_json(kind: str) -> None:
    """Types that a file never has in this place, for a sample of the places and values."""
    valid = json.loads(READERS[kind][1])
    cases = [(path, new) for path in places(valid) for new in WILD]
    for path, new in random.Random(0).sample(cases, min(VALUES, len(cases))):
        read(kind, json.dumps(replaced(valid, path, new)).encode())


OPENERS = ("open_regular", "read_bytes", "read_text", "read_lines", "read_json_file", "read_yaml_file", "read_json",
           "require_regular", "open_image_file", "read_tensors", "read_image")  # fmt: skip
# Modules that open files and are not run here: what they open.
BESIDE = {
    "checkpoints.metadata": "configs of published models, by read_json; the attack's row `configs` has the wild ones",
    "cli.serve": "a token that the user made, by read_text",
    "cli.translate": "texts, by read_lines",
    "cli.zeroshot": "templates, by the reader of tasks.contrastive.prompts",
    "engine.features": "features that a command wrote; tests/engine has the damaged ones",
    "engine.notebook": "images, by read_image",
    "data.jpeg": "bytes of images, by read_image; no file",
    "engine.predictor": "images, by read_image and read_scaled",
    "inference.batch_job": "parts of a job that the same command wrote, by parse_json",
    "inference.choices": "what was measured on this machine, which a command wrote",
    "inference.export.export": "the files of an export that the same command wrote",
    "runs": "config.yaml and predictions.json that the same command wrote",
    "tasks.detection.check": "images, by read_bytes",
    "training.tracking.tracking": "identities that the run wrote, by read_json",
}


def test_every_module_that_opens_files_is_run_by_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running: set[str] = set()
    real = files._open_without_waiting

    def note(path: str, flags: int) -> int:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            running.add(str(frame.f_globals.get("__name__")).removeprefix("saccade."))
            frame = frame.f_back
        return real(path, flags)

    monkeypatch.setattr(files, "_open_without_waiting", note)
    for number, (name, valid, reader) in enumerate(READERS.values()):
        file = tmp_path / str(number) / name
        file.parent.mkdir(parents=True)
        file.write_bytes(valid)
        with suppress(SaccadeError):
            reader(file)
    root = Path(files.__file__).parent
    opening = set()
    for path in root.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if any(isinstance(call, ast.Name) and call.id in OPENERS for call in calls):
            opening.add(".".join(path.relative_to(root).with_suffix("").parts))
    assert opening - running - BESIDE.keys() == set()


@pytest.mark.parametrize("kind", READERS)
def test_the_content_that_is_edited_is_valid(kind: str, tmp_path: Path) -> None:
    name, valid, reader = READERS[kind]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(valid)
    if kind not in INVALID:
        reader(tmp_path / name)
