"""Pages of the API reference: one a package, and one a folder of saccade/tasks. The text is that of the docstrings."""

import ast
from collections.abc import Iterable
from pathlib import Path

import saccade
from docsite.links import ROOT

PACKAGE = ROOT / "saccade"
WITHOUT = ("cli",)  # its commands have pages of their own
FIRST = ("nn", "models", "checkpoints", "data", "engine", "tasks", "training", "analysis", "reporting")
TITLES = {
    "nn": "attention, blocks, positions, patches",
    "models": "one config and one module per file",
    "checkpoints": "model directories and published formats",
    "data": "images, texts, splits, augmentation",
    "engine": "the task interface and the loops that use it",
    "tasks": "the registry of tasks",
    "training": "config, loop, resume",
    "analysis": "analyses of models, as typed results",
    "reporting": "reports, plots, model card",
    "lab": "studies of many runs",
    "explorer": "the page that saccade look opens",
}


def api_pages() -> dict[str, str]:
    """Markdown of every page by its place in the site's sources."""
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    order = [*(name for name in FIRST if name in packages), *sorted(packages - {*FIRST, *WITHOUT})]
    pages = {"reference/api/00-saccade.md": _public_page()}
    for number, name in enumerate(order, start=1):
        folder = PACKAGE / name
        title = f"saccade.{name}" + (f": {TITLES[name]}" if name in TITLES else "")
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and any(path.glob("*.py")))
        if name == "tasks":
            pages[f"reference/api/{number:02}-{name}.md"] = _page(title, folder.glob("*.py"))
            for room in inner:
                page = _page(f"saccade.tasks.{room.name}", room.rglob("*.py"))
                pages[f"reference/api/{number:02}-{name}-{room.name}.md"] = page
        else:
            pages[f"reference/api/{number:02}-{name}.md"] = _page(title, folder.rglob("*.py"))
    return pages


def _page(title: str, files: Iterable[Path]) -> str:
    """The modules of some files: a table of them, then each with its members."""
    modules = [(_module_name(path), path) for path in sorted(files) if path.read_text(encoding="utf-8").strip()]
    rows = [f"| [{name.removeprefix('saccade.')}](#{name}) | {_first_sentence(path)} |" for name, path in modules]
    parts = [f"# {title}", "| module | contents |\n| --- | --- |\n" + "\n".join(rows)]
    for name, _ in modules:
        parts.append(
            f"::: {name}\n    options:\n      heading_level: 2\n      show_root_heading: true\n"
            "      show_root_full_path: true\n      show_root_toc_entry: true\n"
        )
    return "\n\n".join(parts) + "\n"


def _public_page() -> str:
    """The names of `import saccade`, and the modules of no package."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    homes = {
        alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    names = [name for name in saccade.__all__ if name in homes and not name.startswith("_")]
    rows = [f"| `saccade.{name}` | [{homes[name]}][] |" for name in names]
    anchors = "".join(f'<span id="saccade.{name}"></span>' for name in names)
    table = "| name | defined in |\n| --- | --- |\n" + "\n".join(rows)
    intro = (
        "`import saccade` loads no torch; each name loads its module when it is first used. "
        "[The guide](../../python.md) has examples of all of them."
    )
    files = [path for path in PACKAGE.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    rest = _page("", files).split("\n\n", 1)[1]
    return f"# saccade: the public names\n\n{anchors}\n\n{intro}\n\n{table}\n\n## Modules of no package\n\n{rest}"


def _module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return paragraph.replace("|", "\\|")
