"""The generated pages of the site are complete: every command and option, every config key, every public module."""

import re
from dataclasses import fields
from typing import get_type_hints

import pytest
import yaml

from docsite.api import api_pages
from docsite.commands import command_pages
from docsite.comments import field_comment
from docsite.configuration import configuration_pages, nested_config
from docsite.links import ROOT, on_site, page_of, repository_path, targets
from docsite.recipes import recipe_pages
from docsite.tables import table_pages
from saccade.cli.main import COMMANDS, make_app
from saccade.tasks import table
from saccade.training.config import RunConfig


def test_every_command_and_option_has_a_row_with_a_help() -> None:
    pages, app = command_pages(), make_app()
    for name in COMMANDS:
        page = pages[f"reference/commands/{name}.md"]
        commands = [app[name], *(app[name][inner] for inner in app[name].resolved_commands() if inner[0] != "-")]
        for command in commands:
            if command.default_command is None:
                continue
            for argument in command.assemble_argument_collection():
                if argument.show:
                    assert f"`{argument.names[0]}`" in page, f"{name} {argument.names[0]}"
        rows = re.findall(r"^\| `.*", page, re.MULTILINE)
        assert not [row for row in rows if re.match(r"\| [^|]* \|  \|", row)], f"{name}: an option without help"
    row = "| `--batch-size` | Batch size of one optimizer step, over all processes. | whole number |  |"
    assert row in pages["reference/commands/train.md"]
    row = "| `--device` | Device, such as cpu, cuda or auto. | text | `cpu` |"
    assert row in pages["reference/commands/evaluate.md"]


def config_keys(config: type, prefix: str = "") -> list[str]:
    hints, keys = get_type_hints(config), []
    for field in fields(config):
        inner = nested_config(hints[field.name])
        keys += [prefix + field.name] if inner is None else config_keys(inner, f"{prefix}{field.name}.")
    return keys


def test_every_key_of_every_config_has_a_row() -> None:
    pages = configuration_pages()
    index = pages["reference/configuration/index.md"]
    for key in config_keys(RunConfig):
        assert key == "options" or f"| `{key}` |" in index, key
    for name in table.TASKS:
        page = pages[f"reference/configuration/{name}.md"]
        for key in config_keys(table.config_class(name)):
            assert f"| `{name}.{key}` |" in page, key
    for name, page in pages.items():
        rows = re.findall(r"^\| `.*", page, re.MULTILINE)
        assert not [row for row in rows if re.match(r"\| [^|]* \|  \|", row)], f"{name}: a key without a meaning"
    assert "| `optimizer.weight_decay` | of matrices only | number ≥ 0, ≤ 1e+06 | `0.05` |" in index
    assert "| `cosine`, `inverse_sqrt` | `cosine` |" in index


def test_every_module_is_in_the_reference() -> None:
    text = "\n".join(api_pages().values())
    for path in (ROOT / "saccade").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if path.read_text().strip() and not name.startswith(("saccade.cli", "saccade.__main__")) and name != "saccade":
            assert f"::: {name}\n" in text, name


def test_tables_of_formats_and_layouts_are_taken_from_their_pages() -> None:
    pages = table_pages()
    assert "| Google ViT | .npz |" in pages["reference/formats.md"]
    for task in ("classification", "detection", "depth", "contrastive"):
        assert f"`--task {task}`\n\n| " in pages["reference/layouts.md"]


def test_every_recipe_has_a_card() -> None:
    page = recipe_pages()["reference/recipes.md"]
    for path in (ROOT / "saccade/recipes").glob("*.yaml"):
        card = page.partition(f"\n## {path.stem}\n")[2].partition("\n## ")[0]
        assert f"--recipe {path.stem}`" in card, path
        assert re.search(r"`\w+`, [\d,]{6,} parameters, [\d.e+]+ GMAC", card), path
        assert yaml.safe_load(card.partition("```yaml\n")[2].partition("```")[0]) == yaml.safe_load(path.read_text())


def test_the_comment_of_a_field_is_behind_or_above_it() -> None:
    lines = ["    # for a", "    # long one", "    a: int = 1", "    b: int = 2  # of b", "    c: int = 3"]
    assert field_comment(lines, 3, 3) == "for a long one"
    assert field_comment(lines, 4, 4) == "of b"
    assert field_comment(lines, 5, 5) == ""


@pytest.mark.parametrize(
    ("text", "page", "expected"),
    [
        ("[a](data.md#images)", "docs/training.md", "[a](data.md#images)"),
        ("[a](../README.md)", "docs/lab.md", "[a](project/readme.md)"),
        ("[a](docs/vit.md)", "README.md", "[a](../vit.md)"),
        ("[a](../../saccade/nn/attention.py)", "docs/lectures/01.md", "[a](../source/saccade/nn/attention.py.md)"),
        ("[a](benchmarks)", "README.md", "[a](../source/benchmarks/index.md)"),
        ("[a](https://a.org/b.md)", "docs/lab.md", "[a](https://a.org/b.md)"),
        ("```python\nx[a](b)\n```", "docs/lab.md", "```python\nx[a](b)\n```"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(text: str, page: str, expected: str) -> None:
    assert on_site(text, page, page_of(page)) == expected


def test_a_page_knows_its_file() -> None:
    for path in ("docs/training.md", "README.md", "CONTRIBUTING.md"):
        assert repository_path(page_of(path)) == path
    assert targets("[a](../LICENSE) `[b](c)`", "docs/a.md") >= {"LICENSE"}


def test_the_commands_of_the_first_page_are_those_of_the_readme() -> None:
    """There they run."""
    index, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/index.md", "README.md"))
    commands = re.findall(r"^saccade .*", index, re.MULTILINE)
    assert len(commands) == 3
    assert all(command in readme.splitlines() for command in commands)
