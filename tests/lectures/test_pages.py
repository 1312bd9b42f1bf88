"""Every page of docs/lectures runs, prints the text that it shows and saves the pictures that it shows."""

from pathlib import Path

import pytest

from benchmarks import lecture_pictures
from benchmarks.lecture_pictures import LECTURES, MAX_BYTES, linked_pictures, pages, run_page, same_text

pytestmark = pytest.mark.timeout(120)  # what the pages promise


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_page_prints_what_it_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = run_page(page)
    for output in outputs:
        if output.text is not None:
            assert same_text(output.printed, output.text), f"{page.name} prints\n{output.printed}"
    pictures = linked_pictures(page)
    assert pictures, f"{page.name} shows no picture"
    for name in pictures:
        assert (tmp_path / name).is_file(), f"{page.name} does not save {name}"
        assert (LECTURES / "images" / name).stat().st_size <= MAX_BYTES


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
