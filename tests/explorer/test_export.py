"""The page as one file."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from saccade.explorer.app import page_names
from saccade.explorer.export import EXPORT, IMPORT, bundle, export_page, page_text
from saccade.explorer.recording import OpenImage
from saccade.explorer.session import Session
from tests.explorer.conftest import View, photograph, small_model
from tests.explorer.test_page import expected_levels
from tests.explorer.test_server import traced

MODULES = [name for name in page_names() if name.endswith(".js")]


def test_modules_can_be_put_into_one_script() -> None:
    names: Counter[str] = Counter()
    for module in MODULES:
        text = page_text(module)
        assert text.count("\nimport ") + text.startswith("import ") == len(IMPORT.findall(text)), module
        assert text.count("\nexport ") == len(EXPORT.findall(text)), module
        names.update(re.findall(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", text, re.MULTILINE))
    assert [name for name, count in names.items() if count > 1] == []
    assert "import {" not in bundle("file.js")


def test_files_of_the_page_stay_small() -> None:
    assert sum(len(page_text(name)) for name in page_names()) < 300_000
    for name in page_names():
        assert len(page_text(name).splitlines()) <= 400, name
        assert "http" not in page_text(name).replace("http-equiv", ""), f"{name} names another host"


def test_an_exported_page_shows_the_rows_of_the_trace(tmp_path: Path, view: View) -> None:
    session = Session([small_model("one")], [OpenImage("</script>.png", photograph())], 2**26)
    (tmp_path / "page.html").write_text(export_page(session))
    view.open(f"file://{tmp_path / 'page.html'}#paint=light&layer=1&head=2")
    weights = list(traced(session, "0").values())[1][0, 2].numpy()
    view.point_at(2, 3)
    view.show(12)
    assert np.abs(view.levels() - expected_levels(weights[12])).max() <= 1.5  # a byte a weight
    view.page.check('#show input[value="rollout"]')
    view.page.check('#query input[value="mean"]')
    view.show("mean")
    assert not view.page.is_visible("#open")
    assert not view.complaints
    assert view.hosts == {""}


def test_an_export_without_images_is_refused(tmp_path: Path) -> None:
    from saccade.cli.look import write_page
    from saccade.errors import ConfigError

    with pytest.raises(ConfigError, match="needs images"):
        write_page(Session([small_model("one")], [], 2**26), tmp_path / "page.html")
