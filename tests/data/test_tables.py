"""Tables: names of columns, and the line that a row is on."""

from pathlib import Path

import pytest

from saccade.data.tables import read_numbered_table, read_objects, read_table
from saccade.errors import DataError


def test_rows_have_the_number_of_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('File, Value\na.png,1\n\n"b\n.png",2\nc.png,3\n')
    columns, rows = read_numbered_table(path)
    assert columns == ["file", "value"]
    assert [(line, row["value"]) for line, row in rows] == [(2, "1"), (5, "2"), (6, "3")]
    assert read_table(path) == (columns, [row for _, row in rows])


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"text": "a\u2028b\x85c"}\r\n\n{"text": "d"}\n'.encode())
    rows = [(number, row["text"]) for number, row in read_objects(tmp_path / "a.jsonl", "text")]
    assert rows == [
        (1, "a\u2028b\x85c"),
        (3, "d"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, "line 1 is not readable JSON"),
        ('{"text": "\\ud800"}', "line 1 has a character that is none"),
        ("[1]", "an object"),
    ],
)  # fmt: skip
def test_lines_that_are_no_objects_are_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line)
    with pytest.raises(DataError, match=message):
        list(read_objects(tmp_path / "a.jsonl", "text"))
