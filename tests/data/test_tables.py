"""Tables: names of columns, and the line that a row is on."""

from pathlib import Path

from saccade.data.tables import read_numbered_table, read_table


def test_rows_have_the_number_of_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('File, Value\na.png,1\n\n"b\n.png",2\nc.png,3\n')
    columns, rows = read_numbered_table(path)
    assert columns == ["file", "value"]
    assert [(line, row["value"]) for line, row in rows] == [(2, "1"), (5, "2"), (6, "3")]
    assert read_table(path) == (columns, [row for _, row in rows])
