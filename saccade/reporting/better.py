"""Rows of tables that compare two models: which value is better is marked by a tick, not by colour alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from saccade.analysis.comparison import ModelSummary, better_of
from saccade.analysis.paired_metrics import ModelCost
from saccade.engine.task import Direction


@dataclass(frozen=True)
class ComparedRow:
    """A measure of two models: its name with which value is better, and their values."""

    title: Markup
    cells: tuple[Markup, Markup]


def compared_row(
    title: str, texts: Sequence[str], best: int | None, better: Direction | None, below: Sequence[str] = ("", "")
) -> ComparedRow:
    """A row; `best` is the number of the better model, `below` a line below each value, such as its interval."""
    cells = []
    for number, (text, small) in enumerate(zip(texts, below)):
        value = Markup('<b><span role="img" aria-label="better">✓</span> {}</b>' if number == best else "{}")
        cells.append(value.format(text) + (Markup("<br><small>{}</small>").format(small) if small else ""))
    direction = Markup("<br><small>{} is better</small>").format(better) if better else Markup("")
    return ComparedRow(Markup("{}").format(title) + direction, (cells[0], cells[1]))


def cost_rows(models: Sequence[ModelSummary] | Sequence[ModelCost]) -> list[ComparedRow]:
    """Parameters, multiply-adds, activations, and the time where it was measured."""
    measures = {
        "parameters": ("params", "{:,}"),
        "multiply-adds (10⁹)": ("gmacs", "{:.3g}"),
        "activations in training (MB)": ("activation_mb", "{:.3g}"),
        "forward pass (ms per image)": ("milliseconds", "{:.2f}"),
    }
    rows = []
    for title, (name, form) in measures.items():
        first, second = (getattr(model, name) for model in models)
        if first is not None and second is not None:
            texts = [form.format(value) for value in (first, second)]
            rows.append(compared_row(title, texts, better_of(first, second, "lower"), "lower"))
    return rows
