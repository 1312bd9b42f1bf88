"""Every page of docs/lectures runs as a notebook, prints the text and saves the pictures that it shows."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import lecture_pictures
from benchmarks.lecture_pictures import LECTURES, MAX_BYTES, linked_pictures, pages, same_text
from docsite.notebooks import notebook
from tests.notebook_kernel import NotebookKernel

pytestmark = pytest.mark.timeout(120)  # what the pages promise
# Parts of the titles, in the order of the decks.
SUBJECTS = (
    "convolution in one dimension", "convolution in two dimensions", "equivariance", "lenet", "alexnet", "vgg",
    "resnet", "why residuals", "three tokens", "multi-head", "sinusoidal", "permutation", "encoder and decoder",
    "teacher forcing", "greedy decoding and beam search", "bert's masks", "quadratic", "local attention",
    "axial attention", "vision transformer, step by step", "similarity of position", "filters", "attention distance",
    "hybrid", "fine-tune", "few-shot", "scaling laws", "sharpness-aware", "distillation token", "masked autoencoders",
    "perceiver", "zero-shot", "bipartite matching", "object queries", "non-maximum suppression", "dpt",
    "attention from the corner", "convnet or transformer",
)  # fmt: skip


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_page_prints_what_it_shows(page: Path, tmp_path: Path, notebook_kernel: NotebookKernel) -> None:
    expected = [printed(cell) for cell in notebook(page)["cells"] if cell["cell_type"] == "code"]
    cells = notebook_kernel.execute(page, tmp_path)
    for cell, text in zip(cells, expected, strict=True):
        assert not printed(cell, "stderr"), f"{page.name} prints on stderr\n{printed(cell, 'stderr')}"
        if text:
            assert same_text(printed(cell), text), f"{page.name} prints\n{printed(cell)}"
    pictures = linked_pictures(page)
    assert pictures, f"{page.name} shows no picture"
    drawn = sum("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    assert drawn >= sum(name.endswith(".png") for name in pictures)
    for name in pictures:
        assert (tmp_path / name).is_file(), f"{page.name} does not save {name}"
        assert (LECTURES / "images" / name).stat().st_size <= MAX_BYTES


def printed(cell: Mapping[str, Any], stream: str = "stdout") -> str:
    return "".join(output["text"] for output in cell["outputs"] if output.get("name") == stream)


def test_every_subject_of_the_decks_has_its_page() -> None:
    titles = [page.read_text(encoding="utf-8").partition("\n")[0].lower() for page in pages()]
    missing = [subject for subject in SUBJECTS if not any(subject in title for title in titles)]
    assert not missing


def test_every_page_has_what_a_page_needs() -> None:
    """Code, a picture, what to expect, what to change to see it break, and where it is in the code."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        headings = re.findall(r"^## (.*)", text, re.MULTILINE)
        assert headings == ["What to expect", "Break it", "In the code"], page.name
        assert text.index("```python") < text.index("](images/") < text.index("## What to expect"), page.name
        assert re.search(r"^- ", text.partition("## Break it")[2], re.MULTILINE), page.name


def test_every_page_is_in_the_index_in_order() -> None:
    index = (LECTURES / "README.md").read_text(encoding="utf-8")
    places = [index.find(f"]({page.name})") for page in pages()]
    assert -1 not in places
    assert places == sorted(places)


def test_no_picture_is_left_over() -> None:
    shown = {name for page in pages() for name in linked_pictures(page)}
    assert {path.name for path in (LECTURES / "images").iterdir()} == shown


PAGE = """# A page

```python
print(6 * 7)
```

```text
41
```

```python
from PIL import Image

Image.new("RGB", (8, 8)).save("drawn.png")
```

![A square](images/drawn.png)
"""


def test_the_script_writes_text_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "01-page.md"
    page.write_text(PAGE)
    monkeypatch.setattr(lecture_pictures, "LECTURES", tmp_path)
    monkeypatch.setattr("sys.argv", ["lecture_pictures", "01", "--text"])
    lecture_pictures.main()
    assert page.read_text() == PAGE.replace("41", "42")
    assert (tmp_path / "images" / "drawn.png").is_file()


def test_texts_are_compared_up_to_the_last_digit() -> None:
    assert same_text("loss 0.123\n", "loss  0.124")
    assert not same_text("loss 0.123", "loss 0.125")
    assert not same_text("loss 0.123", "error 0.123")
    assert not same_text("61,706 parameters", "61,707 parameters")
    assert not same_text("1\n2", "1")
    assert same_text("accuracy ≈ 0.91", "accuracy ≈ 0.97")
    assert not same_text("accuracy ≈ 0.91", "loss ≈ 0.91")
