"""Pages of what opens: published formats and layouts of data. The tests of each row keep the tables in docs/."""

from docsite.links import ROOT
from tests.opens.tables import MARKED

LAYOUTS = {
    "classification": "Classes",
    "multilabel": "Several labels an image",
    "regression": "A number for each image",
    "detection": "Boxes",
    "segmentation": "Segmentation",
    "depth": "Depth",
    "contrastive": "Captions",
}


def table_pages() -> dict[str, str]:
    """Markdown of the pages by their place in the site's sources.

    Raises:
        KeyError: a page has lost a table, or has one that is not listed here.
    """
    data, checkpoints = _tables("data.md"), _tables("checkpoints.md")
    unknown = set(data) - set(LAYOUTS)
    if unknown:
        raise KeyError(f"docs/data.md has the table {unknown}, which docsite/tables.py does not list")
    layouts = [f"## {title}\n\n`--task {name}`\n\n{data[name]}" for name, title in LAYOUTS.items()]
    return {
        "reference/formats.md": (
            "# Checkpoint formats\n\nEach row is a test: a file of that format is written, opened and compared "
            "with the official model. [Checkpoints](../checkpoints.md) explains how files are recognised, and "
            f"[models](../models.md) has the measured differences.\n\n{checkpoints['formats']}\n"
            f"## Around the weights\n\n{checkpoints['around the weights']}"
        ),
        "reference/layouts.md": (
            "# Layouts of data\n\nEach row is a test: the files are written and opened. [Data](../data.md) explains "
            "splits, classes and images.\n\n" + "\n".join(layouts)
        ),
    }


def _tables(page: str) -> dict[str, str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return {match[2]: match[0].removeprefix(match[1]).removesuffix(match[3]) for match in MARKED.finditer(text)}
