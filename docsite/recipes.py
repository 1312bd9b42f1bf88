"""The page of recipes: a card for each one that ships, from its file, its task's model card and the table of costs."""

import csv
from pathlib import Path

import yaml

from docsite.links import ROOT
from saccade.data.config import DataConfig
from saccade.tasks import table

RECIPES = ROOT / "saccade/recipes"
COSTS = ROOT / "saccade/models/costs.csv"


def recipe_pages() -> dict[str, str]:
    """Markdown of the page by its place in the site's sources."""
    with COSTS.open(newline="") as file:
        costs = {row["name"]: row for row in csv.DictReader(file)}
    cards = [recipe_card(path, costs) for path in sorted(RECIPES.glob("*.yaml"))]
    text = (
        "# Recipes\n\nA recipe is a file of defaults in `saccade/recipes`, selected by task, data and model or with "
        "`--recipe NAME`. A run writes the card of its model, with its data and results, as `README.md`; "
        "[results](../results.md) has the measured ones.\n"
    )
    return {"reference/recipes.md": "\n".join([text, *cards])}


def recipe_card(path: Path, costs: dict[str, dict[str, str]]) -> str:
    """The model that a recipe trains, on which data, how, and its limits."""
    text = path.read_text(encoding="utf-8")
    comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    values = yaml.safe_load(text)
    task, model = values.get("task", "classification"), values["model"]["name"]
    card, cost, data = table.room(task).card(), costs[model], values.get("data", {}).get("path")
    size = f"{int(cost['params']):,} parameters, {int(cost['macs']) / 1e9:.3g} GMAC"
    if data is None and model.endswith("_digits"):
        data = DataConfig().path
    command = f"saccade train {data or 'DATA'} --recipe {path.stem}"
    settings = text[text.index(next(line for line in text.splitlines() if not line.startswith("#"))) :]
    return (
        f"## {path.stem}\n\n{' '.join(comment)}\n\n"
        "| | |\n| --- | --- |\n"
        f"| model | {card.description}: `{model}`, {size} |\n"
        f"| task | `{task}` ({card.hub_task}) |\n"
        f"| data | {f'`{data}`' if data else 'your own'} |\n"
        f"| limits | {card.limits.replace('PATH_OF_THIS_FOLDER', 'RUN')} |\n"
        f"| command | `{command}` |\n\n"
        f"```yaml\n{settings.strip()}\n```\n"
    )
