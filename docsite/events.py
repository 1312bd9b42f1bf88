"""Hooks of mkdocs that add generated pages to the site and complete links and navigation."""

import re
from fnmatch import fnmatch
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docsite.api import api_pages
from docsite.commands import command_pages
from docsite.configuration import configuration_pages
from docsite.links import ROOT, on_site, page_of, repository_path, source_pages
from docsite.notebooks import notebook_bytes, notebook_name, notebook_sources
from docsite.recipes import recipe_pages
from docsite.tables import table_pages

GENERATED = ("source/", "reference/")
INDEX = ("index.md", "README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the notebooks, and fill in the patterns of the navigation."""
    repository = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    repository += sorted(path.name for path in ROOT.glob("*.md"))
    texts = [(path, (ROOT / path).read_text(encoding="utf-8")) for path in repository]
    pages = {page_of(path): text for path, text in texts if not path.startswith("docs/")}
    for part in (
        source_pages(texts),
        api_pages(),
        command_pages(),
        configuration_pages(),
        table_pages(),
        recipe_pages(),
    ):
        pages.update(part)
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    for page in notebook_sources():
        files.append(File.generated(config, notebook_name(page), content=notebook_bytes(page)))
    names = [file.src_uri for file in files.documentation_pages()]
    if config.nav is not None:
        taken = set(_listed(config.nav))
        config.nav = _filled(config.nav, sorted(set(names) - taken), _patterns(config.nav))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of a page as the site needs them; lectures and tutorials link to a notebook, lectures have a command."""
    place = page.file.src_uri
    if place == config.extra["first_page"]:
        page.meta["hide"] = ["navigation"]
    if place.startswith(GENERATED) and not page.file.abs_src_path:
        return markdown
    path = repository_path(place)
    text = on_site(markdown, path, place)
    if ROOT / path in notebook_sources():
        name = notebook_name(ROOT / path).rpartition("/")[2]
        title, _, rest = text.partition("\n")
        number = re.match(r"lectures/(\d+)", place)
        run = f", or run it from a checkout: `python -m benchmarks.lecture_pictures {number[1]}`" if number else ""
        text = f"{title}\n\n[Download this page as a notebook]({name}){run}\n{rest}"
    return text


def _listed(nav: Any) -> list[str]:
    """The pages that a navigation names, without its patterns."""
    if isinstance(nav, str):
        return [] if "*" in nav else [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [name for part in parts for name in _listed(part)]


def _patterns(nav: Any) -> list[str]:
    """The patterns of a navigation but "*", which is for the pages that no other one matches."""
    if isinstance(nav, str):
        return [nav] if "*" in nav and nav != "*" else []
    parts = nav.values() if isinstance(nav, dict) else nav
    return [pattern for part in parts for pattern in _patterns(part)]


def _filled(nav: list[Any], free: list[str], patterns: list[str]) -> list[Any]:
    """A navigation with every pattern replaced by the pages that it matches and no entry names."""
    result: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            (title, inner), *_ = entry.items()
            result.append({title: _filled(inner, free, patterns) if isinstance(inner, list) else inner})
        elif entry == "lectures/*":
            result += _lectures(free)
        elif "*" in entry:
            names = [name for name in free if fnmatch(name, entry) and ("/" in entry or "/" not in name)]
            if entry == "*":
                names = [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]
            result += sorted(names, key=lambda name: (not name.endswith(INDEX), name))
        else:
            result.append(entry)
    return result


def _lectures(free: list[str]) -> list[Any]:
    """The pages of the lectures under the headings of their index, in the order of its links."""
    index = (ROOT / "docs/lectures/README.md").read_text(encoding="utf-8")
    rest = [name for name in free if name.startswith("lectures/") and not name.endswith(INDEX)]
    result: list[Any] = ["lectures/README.md"]
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        names = [f"lectures/{name}" for name in re.findall(r"\]\(([\w-]+\.md)\)", text)]
        names = [name for name in dict.fromkeys(names) if name in rest]
        rest = [name for name in rest if name not in names]
        if names:
            result.append({title.strip(): names})
    return result + rest
