"""Every line of code in README and docs runs, in the order of its page; every link leads somewhere."""

import os
import re
import shutil
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_sample_image

import saccade
from benchmarks import gallery
from docsite.api import api_pages
from docsite.commands import command_pages
from docsite.configuration import configuration_pages
from docsite.notebooks import notebook_sources
from docsite.recipes import recipe_pages
from docsite.tables import table_pages
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from tests.notebook_kernel import NotebookKernel
from tests.page_commands import CODE_BLOCK, as_it_stands, commands, page_commands, shortened
from tests.photos import make_photos

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(900)  # a page as it stands trains several models
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# tests/lectures/test_pages.py runs the lectures; what the gallery shows runs on other pages
RUN_HERE = [page for page in PAGES if page.parent.name != "lectures" and page.name != "gallery.md"]
WHOLE = ("README.md",)
GALLERY = ROOT / "docs/gallery.md"
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"


class Workspace(NamedTuple):
    """A folder where pages run, and whether their trainings are cut short there."""

    folder: Path
    shortens: bool


@pytest.fixture(scope="module", params=["short", pytest.param("whole", marks=pytest.mark.long)])
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """What the pages speak of: photographs, a picture of a cat, a finished run on digits and one on photographs."""
    folder = tmp_path_factory.mktemp(request.param)
    make_photos(folder / "photos", count=80)
    Image.open(folder / "photos/cat/0.png").resize((90, 70)).save(folder / "cat.jpg")
    for path in (folder / "photos").rglob("*.png"):
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    rows = "".join(f"photos/cat/{i}.jpg,a cat on a mat\nphotos/dog/{i}.jpg,a dog in a bog\n" for i in range(8))
    (folder / "captions.csv").write_text("image,caption\n" + rows)
    (folder / "pairs.tsv").write_text("".join(f"{a}{b}\t{b}{a}\n" for a in "pqrstuv" for b in "aeo"))
    (folder / "poems.txt").write_text("\n\n".join(f"roses are {c}\nviolets are {c}" for c in "abcdefghijkl"))
    for name in ("flower.jpg", "china.jpg"):
        Image.fromarray(load_sample_image(name)).resize((320, 214)).save(folder / name)
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert main(["train", "--epochs", "1", "--set", "preflight=false"]) == 0
        small = "model.options={depth: 1, block.embed_dim: 32, block.num_heads: 2, block.mlp_dim: 32}"
        assert main(["train", "photos", "--image-size", "32", "--steps", "1", "--set", small]) == 0
        vit = saccade.create("vit_ti16", num_classes=1000, options={"depth": 1})
        labels = [f"class {number}" for number in range(1000)]
        saccade.save(vit, "vit", preprocessing=Preprocessing((224, 224)), labels=labels)
        assert main(["convert", "vit", "timm", "--to", "timm"]) == 0
        torch.save({"model": load_file("timm/model.safetensors")}, "deit_tiny_patch16_224.pth")
    finally:
        os.chdir(before)
    return Workspace(folder, shortens=request.param == "short")


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.name)
def test_what_a_page_shows_runs(
    page: Path,
    workspace: Workspace,
    notebook_kernel: NotebookKernel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With short trainings, tutorials as notebooks; where it is marked long, the first page as it stands."""
    if not workspace.shortens and page.name not in WHOLE:
        pytest.skip("runs with short trainings")
    if page in notebook_sources():
        notebook_kernel.execute(page, workspace.folder, shorten="shortened")
        return
    shorten = shortened if workspace.shortens else as_it_stands
    monkeypatch.chdir(workspace.folder)
    names: dict = {}
    for language, text in CODE_BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, str(page), "exec"), names)
        elif language == "bash":
            for line, command in commands(text):
                assert main(shorten(command)) == 0, f"{page.name}: {line}\n{capsys.readouterr().err}"


def test_the_gallery_shows_commands_that_run_on_other_pages() -> None:
    run = {line for page in RUN_HERE for line in page_commands(page.read_text(encoding="utf-8"))}
    text = GALLERY.read_text(encoding="utf-8")
    lines = page_commands(text)
    assert len(lines) > 15
    assert set(lines) <= run, set(lines) - run


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            path = Path(os.path.normpath(page.parent / target))
            generated = REFERENCE in path.parents and path.relative_to(DOCS).as_posix() in reference_pages()
            assert path.exists() or generated, f"{page.name}: {target}"


@cache
def reference_pages() -> set[str]:
    """The pages that are made when the site is built."""
    return {*api_pages(), *command_pages(), *configuration_pages(), *table_pages(), *recipe_pages()}


def test_the_readme_has_its_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "pip install -e . && saccade train" in lines
    assert 'pip install -e ".[test]" && pytest' in lines


def test_the_pages_speak_of_the_project_alone() -> None:
    for page in PAGES:
        assert not re.search(r"/(home|root|work|tmp)/", page.read_text(encoding="utf-8")), page.name


def test_contributing_names_files_that_exist() -> None:
    """Names with NAME or PUBLISHER stand for a new file; their folder exists for classification or timm_vit."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:saccade|tests|benchmarks|docs)/[\w./]+)`", text)
    assert len(paths) > 30
    for path in paths:
        filled = path.replace("PUBLISHER_FAMILY", "timm_vit")
        if "NAME" in filled:
            examples = {"models": "vit", "recipes": "finetune", "analysis": "rollout"}
            folder = filled.split("/")[1]
            filled = filled.replace("NAME", examples.get(folder, "classification"))
        assert (ROOT / filled).exists(), path


def test_the_script_draws_the_scenes_of_the_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gallery", "scenes", str(tmp_path / "scenes.png")])
    gallery.main()
    with Image.open(tmp_path / "scenes.png") as drawn, Image.open(DOCS / "images/scenes.png") as kept:
        difference = np.abs(np.asarray(drawn.convert("RGB"), int) - np.asarray(kept.convert("RGB"), int))
    assert difference.mean() < 1


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_the_script_of_the_gallery_takes_pictures_of_reports(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    parts = '<h2>First</h2><p class="note">A note.</p><div style="height: 50px; background: red"></div><h2>Second</h2>'
    (run / "report.html").write_text(f'<main style="margin: 20px"><h1>Report</h1>{parts}</main>')
    part = gallery.report_picture(run, "First", 980)
    assert part.height == 70
    assert part.getpixel((part.width // 2, 35)) == (255, 0, 0)
    assert gallery.report_picture(run, None, 90).height == 90
    with pytest.raises(SystemExit, match="no heading 'Third'"):
        gallery.report_picture(run, "Third", 980)
