"""Where a file of the repository is on the site, and links between pages as the repository has them."""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[ \t]*$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?\)")
TEXT = (".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".txt", ".csv", ".json", ".html", ".js", ".css", "")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json", ".html": "html"}
MAX_LINES = 1500  # of a file that gets a page


def page_of(path: str) -> str:
    """Place in the site's sources of a file or folder of the repository.

    A page of docs/ stays where it is, a page of the root goes to project/, any other file gets a page that shows it.
    """
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if "/" not in path and path.endswith(".md"):
        return f"project/{path.lower()}"
    if (ROOT / path).is_dir():
        return f"source/{path}/index.md"
    return f"source/{path}.md"


def repository_path(page: str) -> str:
    """The file of the repository that a page in the site's sources is made of: the inverse of :func:`page_of`."""
    if page.startswith("project/"):
        name = posixpath.basename(page).removesuffix(".md")
        return next(path.name for path in ROOT.glob("*.md") if path.name.removesuffix(".md").lower() == name)
    return f"docs/{page}"


def outside_code(text: str) -> Iterable[tuple[str, bool]]:
    """Parts of a page's text in their order, each with whether it is a block of code."""
    end = 0
    for block in FENCE.finditer(text):
        yield text[end : block.start()], False
        yield block[0], True
        end = block.end()
    yield text[end:], False


def is_local(target: str) -> bool:
    """Whether the target of a link is a file of the repository."""
    return not re.match(r"[a-z]+:|/", target)


def targets(text: str, path: str) -> set[str]:
    """Files and folders of the repository that a page links to; `path` is the page's own."""
    links = {match[2] for part, code in outside_code(text) if not code for match in LINK.finditer(part)}
    return {posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) for link in links if is_local(link)}


def on_site(text: str, path: str, page: str) -> str:
    """The text of a page with its links as the site needs them.

    Args:
        text: Markdown, with links from one file of the repository to another.
        path: of the page in the repository.
        page: of the page in the site's sources.
    """

    def moved(match: re.Match[str]) -> str:
        if not is_local(match[2]):
            return match[0]
        target = page_of(posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2])))
        return f"{match[1]}{posixpath.relpath(target, posixpath.dirname(page) or '.')}{match[3] or ''})"

    return "".join(part if code else LINK.sub(moved, part) for part, code in outside_code(text))


def source_pages(pages: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A page for each file outside docs/ that pages link to, and one for each folder.

    Args:
        pages: path in the repository and text of each page.

    Returns:
        Markdown by place in the site's sources.
    """
    linked = sorted({target for path, text in pages for target in targets(text, path)})
    paths = [path for path in linked if not path.startswith("docs") and "/" in page_of(path).removeprefix("project/")]
    result = {}
    for path in paths:
        full = ROOT / path
        if full.is_dir():
            files = sorted(f for f in full.iterdir() if f.is_file() and f.suffix in TEXT)
            for file in files:
                result[page_of(f"{path}/{file.name}")] = file_page(f"{path}/{file.name}")
            lines = [f"- [{file.name}]({file.name}.md){summary(file)}" for file in files]
            result[page_of(path)] = hidden(f"# {path}/\n\n" + "\n".join(lines) + "\n")
        elif full.is_file():
            result[page_of(path)] = file_page(path)
    return result


def file_page(path: str) -> str:
    """A page that shows a file of the repository."""
    full = ROOT / path
    lines = full.read_text(encoding="utf-8").splitlines()
    rest = f"\n\n{len(lines) - MAX_LINES} more lines." if len(lines) > MAX_LINES else ""
    language = LANGUAGES.get(full.suffix, "text")
    code = "\n".join(lines[:MAX_LINES])
    reference = ""
    if lines and path.startswith("saccade/") and full.suffix == ".py" and not path.startswith("saccade/cli/"):
        name = path.removesuffix(".py").replace("/", ".")
        reference = f"API reference: [{name}][]\n\n"
    return hidden(f'# {path}\n\n{reference}`````{language} linenums="1"\n{code}\n`````{rest}\n')


def hidden(text: str) -> str:
    """A page that the search leaves out."""
    return "---\nsearch:\n  exclude: true\n---\n\n" + text


def summary(file: Path) -> str:
    """The first sentence of a Python file's docstring, behind a colon."""
    if file.suffix != ".py":
        return ""
    match = re.match(r'"""(.*?)(?:\.\s|\n\n|"""|:\s)', file.read_text(encoding="utf-8"), re.DOTALL)
    return f": {' '.join(match[1].split()).rstrip('.')}" if match else ""
