"""Notebooks made from pages: valid and complete. tests/lectures and tests/test_docs.py execute them."""

from pathlib import Path

import nbformat

from docsite.notebooks import notebook, notebook_bytes, notebook_sources


def test_every_lecture_and_tutorial_is_a_valid_notebook() -> None:
    pages = notebook_sources()
    assert {page.parent.name for page in pages} == {"lectures", "tutorials"}
    for page in pages:
        nbformat.validate(nbformat.reads(notebook_bytes(page).decode(), as_version=4))


def test_a_page_becomes_cells(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n```python\nplot.savefig('a.png')\nprint(1)\n```\n\n```text\n1\n```\n\n![A plot](images/a.png)\n\n"
        "Words.\n\n```bash\nsaccade models\n```\n\n```json\n{}\n```\n"
    )
    cells = notebook(page)["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "code", "markdown", "code", "markdown"]
    assert cells[1]["outputs"] == [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    assert "Image('a.png')" in cells[2]["source"]
    assert cells[4]["source"] == "!saccade models"
    assert cells[5]["source"] == "```json\n{}\n```"
    assert len({cell["id"] for cell in cells}) == len(cells)
