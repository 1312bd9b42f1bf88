"""Tables of docs/ whose rows are tests: each row has a fixture that is written and opened.

    python -m tests.opens.tables        writes the tables into docs/

A page marks the place of a table by `<!-- table: NAME -->` and `<!-- end of table -->`; `test_tables.py` fails
where the page differs from what is generated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
MARKED = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        page: file name in docs/.
        name: in the marker.
        header: titles of the columns.
        rows: the cells of each row, in Markdown.
    """

    page: str
    name: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def with_tables(text: str, tables: Sequence[Table]) -> str:
    """The text of a page with the given tables in their places.

    Raises:
        KeyError: the page marks a table that is not among them.
    """
    by_name = {table.name: table for table in tables}
    return MARKED.sub(lambda match: match[1] + by_name[match[2]].markdown() + match[3], text)


def marked_names(text: str) -> list[str]:
    """The names of the tables whose places a page marks."""
    return [match[2] for match in MARKED.finditer(text)]


def file_list(folder: Path) -> str:
    """The files below a folder as Markdown: the second cell of a layout's row."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return " ".join(f"`{name}`" for name in files)


def main() -> None:
    from tests.opens.all_tables import all_tables

    tables = all_tables()
    for page in sorted({table.page for table in tables}):
        path = DOCS / page
        own = [table for table in tables if table.page == page]
        path.write_text(with_tables(path.read_text(encoding="utf-8"), own), encoding="utf-8")
        print(f"{path.relative_to(DOCS.parent)}: {', '.join(table.name for table in own)}")


if __name__ == "__main__":
    main()
