"""The site: built strictly, then read as its readers do: offline, by its links, by its search, on small screens."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# What a reader wants -> the heading of the page that answers it, and a part of the answer.
QUESTIONS = {
    "fine-tune on own photographs": (r"fine-tune .*own photographs", "saccade train photos --init"),
    "load a Google .npz": (r"load a google \.npz", "saccade predict ViT-B_16.npz cat.jpg"),
    "see what head 3 of layer 7 attends to": (r"head 3 of layer 7", "--layer 7 --head 3"),
    "add a task": (r"^add a task", "one line in table.py"),
    "know what GMAC counts": (r"what (gmac counts|does gmac count)", "multiply-adds for one input"),
}
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


class Reader(HTMLParser):
    """Links, headings, text, and what a page loads; links of the article apart from those of the navigation."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.article_links: list[str] = []
        self.article = ""
        self.in_article = False
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.headings: list[str] = []
        self.in_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.add(values.get("id", ""))
        self.in_article = self.in_article or tag == "article"
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
            if self.in_article:
                self.article_links.append(values["href"])
        if values.get("rel") not in ("canonical", "prev", "next") and LOADED.get(tag, "") in values:
            self.loads.append(values[LOADED[tag]])
        if tag in ("h1", "h2"):
            self.in_heading = True
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        self.in_article = self.in_article and tag != "article"
        if tag in ("h1", "h2"):
            self.in_heading = False

    def handle_data(self, data: str) -> None:
        if self.in_heading:
            self.headings[-1] += data
        if self.in_article:
            self.article += data


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader


def target(page: Path, link: str) -> Path | None:
    """The file that a link of a page leads to; None on other hosts."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    return (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()


def test_the_site(tmp_path: Path) -> None:
    """In one test, because the site is built once."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    pages = {page.resolve(): read(page) for page in site.rglob("*.html")}
    assert len(pages) > 150

    for page, reader in pages.items():
        if page.name == "404.html":  # its addresses are those of a server's root
            assert all(target(page, address) is not None for address in reader.loads)
            continue
        for address in reader.loads:
            file = target(page, address)
            assert file is not None, f"{page} loads {address} from another host"
            assert file.is_file(), f"{page} loads {address}, which is not there"
        for link in reader.links:
            file = target(page, link)
            if file is not None:
                assert file.is_file(), f"{page} links to {link}"
                fragment = unquote(urlsplit(link).fragment)
                if file in pages and fragment and not fragment.startswith("__"):
                    assert fragment in pages[file].ids, f"{page} links to {link}"
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", text), f"{style} loads from another host"

    start = (site / "index.html").resolve()
    near = {start} | {target(start, link) for link in pages[start].links}
    reach = near | {target(page, link) for page in near if page in pages for link in pages[page].links}
    clicks = {start}
    for _ in range(2):  # on links that the pages themselves show, without navigation and search
        clicks |= {target(page, link) for page in clicks if page in pages for link in pages[page].article_links}
    for question, (heading, answer) in QUESTIONS.items():
        answers = [p for p in clicks if p in pages and re.search(heading, pages[p].headings[0].lower())]
        assert answers, f"no page within two clicks of the first one is about how to {question}"
        assert any(answer in pages[p].article for p in answers), question

    for page in (ROOT / "docs/lectures").glob("[0-9]*.md"):
        built = (site / "lectures" / f"{page.stem}.html").resolve()
        assert (site / "lectures" / f"{page.stem}.ipynb").is_file()
        assert built in reach, f"{page.name} is not in the navigation"
    how_to = (site / "how-to/index.html").read_text(encoding="utf-8")
    navigation = how_to[how_to.index('aria-label="Navigation"') : how_to.index("<article")]
    assert "lab-data-size" not in navigation, "a study is among the how-to guides"
    use_in_a_browser(site)


def use_in_a_browser(site: Path) -> None:
    """From a folder, without a server: no request to another host, no page wider than its screen, a search."""
    path = shutil.which("chromium")
    if path is None:
        return
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for width, scheme in ((360, "dark"), (2560, "light")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            view = context.new_page()
            requests: list[str] = []
            view.on("request", lambda request, requests=requests: requests.append(request.url))
            for name in ("index", "gallery", "reference/commands/train", "reference/api/01-nn", "data"):
                view.goto(f"{site.resolve().as_uri()}/{name}.html")
                assert view.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, f"{name} at {width}"
            dark = view.evaluate("document.body.dataset.mdColorScheme") == "slate"
            assert dark == (scheme == "dark")
            assert all(url.startswith(("file:", "data:", "blob:", "about:")) for url in requests)
            context.close()
        view = browser.new_page(viewport={"width": 1280, "height": 900})
        for heading, _ in QUESTIONS.values():
            view.goto(f"{site.resolve().as_uri()}/index.html")
            view.locator("article a", has_text=re.compile(heading.strip("^"), re.IGNORECASE)).first.click()
            view.wait_for_load_state()
            assert re.search(heading, view.inner_text("h1").lower())
        view.goto(f"{site.resolve().as_uri()}/index.html")
        view.get_by_role("textbox", name="Search").fill("layer_decay")
        view.wait_for_selector(".md-search-result__item", timeout=60_000)
        assert "optimizer" in view.inner_text(".md-search-result__list").lower()
        browser.close()
