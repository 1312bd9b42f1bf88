"""The tables of what opens in docs/ are those that the tests generate."""

import pytest

from tests.opens.all_tables import all_tables
from tests.opens.tables import DOCS, Table, marked_names, with_tables

TABLES = all_tables()
PAGES = sorted({table.page for table in TABLES})


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_what_is_generated(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    tables = [table for table in TABLES if table.page == page]
    assert sorted(marked_names(text)) == sorted(table.name for table in tables)
    assert with_tables(text, tables) == text, "run: python -m tests.opens.tables"


def test_no_other_page_marks_a_table() -> None:
    marked = {path.name for path in DOCS.glob("*.md") if marked_names(path.read_text(encoding="utf-8"))}
    assert marked == set(PAGES)


def test_a_table_is_written_between_its_markers() -> None:
    table = Table("a.md", "boxes", ("layout", "what"), [("VOC", "`a|b`")])
    text = "before\n<!-- table: boxes -->\nold\n<!-- end of table -->\nafter\n"
    expected = "| layout | what |\n| --- | --- |\n| VOC | `a\\|b` |\n"
    assert with_tables(text, [table]) == text.replace("old\n", expected)
    with pytest.raises(KeyError):
        with_tables(text, [])
