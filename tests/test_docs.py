"""Every line of code in README and docs runs, in the order of its page; every link leads somewhere."""

import os
import re
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from docsite.api import api_pages
from docsite.commands import command_pages
from docsite.configuration import configuration_pages
from docsite.tables import table_pages
from saccade.cli.main import main
from tests.photos import make_photos

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(900)  # a page as it stands trains several models
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN_HERE = [page for page in PAGES if page.parent.name != "lectures"]  # tests/lectures/test_pages.py runs those
WHOLE = ("README.md",)
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Workspace(NamedTuple):
    """A folder where pages run, and whether their trainings are cut short there."""

    folder: Path
    shortens: bool


# A model, a task or a recipe of a page's training -> options that make it small. Weights fill the disk.
SMALL = {
    "vit_ti16": ("model.options.depth=1",),
    "deit_ti16": ("model.options.depth=1",),
    "mae_ti16": ("model.options.depth=1", "model.options.decoder_depth=1"),
    "image_to_text_ti16": ("model.options.backbone_config.depth=1",),
    "resnet18": ("model.options.width=8",),
    "detection": ("model.options.backbone_config.width=8",),
    "resnet18_small": ("model.options.width=8",),
    "depth": ("model.options.features=16",),
    "segmentation": ("model.options.features=16",),
    "cifar": ("model.options.depth=1",),
}


def shortened(command: list[str]) -> list[str]:
    """The same training of a small model in two small steps, without the check before it.

    A training that has few steps as it stands remains as it is.
    """
    if command[0] not in ("train", "pretrain") or {"--resume", "--steps", "--dry-run"} & set(command):
        return command
    options = ["preflight=false", *(option for name in command for option in SMALL.get(name, ()))]
    if not any(part == "--batch-size" or part.startswith("batch_size=") for part in command):
        options.append("batch_size=4")
    if "numbers" in command:
        options += ["data.numbers.val=8", "data.numbers.test=16"]
    if "--epochs" in command:
        place = command.index("--epochs")
        command = [*command[:place], *command[place + 2 :]]
    return [*command, "--steps", "2", *(part for option in options for part in ("--set", option))]


@pytest.fixture(scope="module", params=["short", pytest.param("whole", marks=pytest.mark.slow)])
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
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert main(["train", "--epochs", "1", "--set", "preflight=false"]) == 0
        small = "model.options={depth: 1, block.embed_dim: 32, block.num_heads: 2, block.mlp_dim: 32}"
        assert main(["train", "photos", "--image-size", "32", "--steps", "1", "--set", small]) == 0
    finally:
        os.chdir(before)
    return Workspace(folder, shortens=request.param == "short")


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.name)
def test_what_a_page_shows_runs(page: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """With short trainings; where it is marked slow, the first page that people read as it stands."""
    if not workspace.shortens and page.name not in WHOLE:
        pytest.skip("runs with short trainings")
    monkeypatch.chdir(workspace.folder)
    names: dict = {}
    for language, text in CODE_BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, str(page), "exec"), names)
        elif language == "bash":
            for line, command in commands(text):
                command = shortened(command) if workspace.shortens else command
                assert main(command) == 0, f"{page.name}: {line}\n{capsys.readouterr().err}"


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The lines of a block that call saccade, each with its arguments."""
    return [(line, shlex.split(line)[1:]) for line in text.splitlines() if line.startswith("saccade ")]


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
    return {*api_pages(), *command_pages(), *configuration_pages(), *table_pages()}


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
