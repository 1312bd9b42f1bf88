"""Notebooks of the lectures and tutorials, made from their pages: python -m docsite.notebooks FOLDER

Prose becomes Markdown cells and code becomes code cells: Python as it stands, commands as lines with `!`. The ```text
block behind a block of code is the output of its cell. A picture that the code saves is displayed by a cell behind it.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from docsite.links import ROOT

DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"^!\[([^\]]*)\]\((?:\.\./)?images/([^)]+)\)\n", re.MULTILINE)


def notebook_sources() -> list[Path]:
    """The pages that are notebooks too."""
    return sorted((*DOCS.glob("lectures/[0-9]*.md"), *DOCS.glob("tutorials/[!i]*.md")))


def notebook_name(page: Path) -> str:
    """Place of a page's notebook in the site, beside the page."""
    return page.relative_to(DOCS).with_suffix(".ipynb").as_posix()


def notebook(page: Path) -> dict[str, Any]:
    """The notebook of a page, as nbformat 4.5 has it."""
    text, cells = page.read_text(encoding="utf-8"), []
    end, saved = 0, ""
    for block in BLOCK.finditer(text):
        cells += _prose(text[end : block.start()], saved)
        language, code = block[1], block[2].rstrip("\n")
        end = block.end()
        if language == "python":
            cells.append(_code(code))
            saved += code
        elif language == "bash":
            cells.append(_code("\n".join(f"!{line}" for line in code.splitlines() if line.strip())))
            saved += code
        elif language == "text" and cells and cells[-1]["cell_type"] == "code" and not cells[-1]["outputs"]:
            cells[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": f"{code}\n"}]
        else:
            cells.append(_markdown(block[0]))
    cells += _prose(text[end:], saved)
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def notebook_bytes(page: Path) -> bytes:
    """The notebook of a page as its file has it."""
    return json.dumps(notebook(page), indent=1, ensure_ascii=False).encode()


def _prose(text: str, saved: str) -> list[dict[str, Any]]:
    """Cells of the text between two blocks; a picture that the code above saves is displayed."""
    cells, end = [], 0
    for picture in PICTURE.finditer(text):
        if picture[2] in saved:
            cells += [_markdown(text[end : picture.start()]), _show(picture[2], picture[1])]
            end = picture.end()
    cells.append(_markdown(text[end:]))
    return [cell for cell in cells if cell["source"]]


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.strip()}


def _code(source: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}


def _show(name: str, text: str) -> dict[str, Any]:
    code = f"from IPython.display import Image, display\n\ndisplay(Image({name!r}))  # {text}"
    return _code(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for page in notebook_sources():
        path = folder / notebook_name(page)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(notebook_bytes(page))
        print(path)


if __name__ == "__main__":
    main()
