"""JSON of others: one line of error whatever stands in it; JSON for others: valid for every number."""

import json
from pathlib import Path

import pytest

from saccade.checkpoints.atomic import check_manifest
from saccade.checkpoints.reading import read_json
from saccade.cli.terminal import one_line, printable
from saccade.data.arrow import _read_json as read_dataset_info
from saccade.data.label_file import _read_json as read_labels
from saccade.data.tokenizer import open_tokenizer
from saccade.errors import CheckpointError, DataError, SaccadeError
from saccade.json_io import dump_json, parse_json, read_json_file

DEEP = b"[" * 100_000 + b"]" * 100_000
BAD = {
    "deep": DEEP,
    "latin-1": b'{"caf\xe9": 1}',
    "cut": b'{"a": [1, ',
    "empty": b"",
    "numbers": b"[1" + b"0" * 10_000 + b"]",
}
READERS = {"value": read_json_file, "config": read_json, "info": read_dataset_info, "labels": read_labels}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_whatever_stands_in_a_file_the_error_is_one_line(tmp_path: Path, read, content: bytes) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    with pytest.raises(SaccadeError, match=r"file\.json") as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_a_deep_manifest_and_a_deep_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(DEEP)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        check_manifest(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(DEEP)
    with pytest.raises(DataError, match="nested too deeply"):
        open_tokenizer(tmp_path)


def test_numbers_that_are_not_finite_become_null() -> None:
    text = dump_json({"nan": float("nan"), "deep": [(1.0, float("inf"))], "name": "é\x1b"})
    content = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert content == {"nan": None, "deep": [[1.0, None]], "name": "é\x1b"}
    assert parse_json(text, "text") == content


def test_terminals_get_no_escape_sequences() -> None:
    assert printable("a\x1b[31mb\nc\u202ed") == "a\\x1b[31mb\nc\\u202ed"
    assert printable("caf\udce9 é 日本") == "caf\\udce9 é 日本"
    assert one_line("a\nsaccade: b\r") == "a saccade: b"
