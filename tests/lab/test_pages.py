"""The studies that ship: each resolves, has a page, and the page has the numbers of its committed results."""

import csv
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from saccade.lab.study import read_study, shipped_studies
from saccade.models.zoo import create

ROOT = Path(__file__).parents[2]
LARGER = sorted((ROOT / "benchmarks" / "lab").glob("*.yaml"))
TUNED = sorted((ROOT / "docs" / "lab").glob("*-tuning.csv"))


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("lab_pages")


@pytest.mark.parametrize("name", shipped_studies())
def test_a_study_that_ships_has_its_page(name: str, pages: ModuleType) -> None:
    """The table is that of the committed runs, which are the runs of the study's file as it is now."""
    assert len(read_study(name).config.seeds) >= 3
    before, after = pages.with_block(name)
    assert before == after
    assert pages.stray_numbers(name) == []
    assert all((ROOT / "docs" / "images" / picture).is_file() for picture in pages.pictures(name, read_study(name)))
    assert f"saccade lab run {name} " in before
    assert f"({pages.page(name).name})" in (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", TUNED, ids=lambda path: path.stem)
def test_a_study_has_the_best_learning_rates(table: Path, pages: ModuleType) -> None:
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    axis, best = next(iter(rows[0])), pages.best_rates(rows)
    study = read_study(table.stem.removesuffix("-tuning"))
    assert study.config.tuned == pages.tuned_record(rows)
    jobs = study.jobs
    assert {job.levels[axis] for job in jobs} == set(best)
    for job in jobs:
        assert job.config.optimizer.lr == float(best[job.levels[axis]]), job.id


@pytest.mark.parametrize("path", LARGER, ids=lambda path: path.stem)
def test_a_study_of_the_benchmarks_resolves(path: Path, pages: ModuleType) -> None:
    """Its grid, and every model of it; its page names it, or docs/lab.md where it has none."""
    page = pages.page(path.stem) if path.stem in shipped_studies() else ROOT / "docs" / "lab.md"
    assert f"benchmarks/lab/{path.name}" in page.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").startswith("# ")
    models = {repr(job.config.model): job.config.model for job in read_study(path).runs if not job.config.model.init}
    for model in models.values():
        create(model.name, image_size=model.image_size, in_channels=model.in_channels, options=model.options)


def test_a_number_that_is_not_in_the_results_is_reported(
    pages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"The error is 0.123, not 0.456.\n{pages.BEGIN}\n\n| 0.123 |\n\n{pages.END}\n"
    (tmp_path / "lab-made-up.md").write_text(text, encoding="utf-8")
    monkeypatch.setattr(pages, "DOCS", tmp_path)
    assert pages.stray_numbers("made_up") == ["0.456"]
