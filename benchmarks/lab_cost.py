"""What one layer costs by the size of its map, as benchmarks/attention_cost.py wrote it: a figure and two tables."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from saccade.reporting.plots import COLOURS, STYLE
from saccade.reporting.study_plots import add_legend, scale_axis


def cost_rows(folder: Path, name: str) -> dict[str, list[dict[str, str]]]:
    """The rows of a cost table by kind of attention."""
    with open(folder / f"{name}-cost.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        kind: [row for row in rows if row["attention"] == kind] for kind in dict.fromkeys(r["attention"] for r in rows)
    }


def cost_section(folder: Path, name: str) -> str:
    """What one layer costs on maps of growing size: picture and tables."""
    about = json.loads((folder / f"{name}-cost.json").read_text(encoding="utf-8"))
    rows = cost_rows(folder, name)
    sides = [row["side"] for row in next(iter(rows.values()))]
    parts = [
        f"![Multiply-adds and processor time of one layer against the places of its map](images/{cost_picture(name)})",
        f"One layer of width {about['width']} with {about['heads']} heads on maps of growing size, projections "
        f"included (`python benchmarks/attention_cost.py --lab`): {about['machine']}, {about['date']}; medians of "
        f"{about['rounds']} interleaved rounds. Millions of multiply-adds:",
    ]
    for number, column in enumerate(("macs", "cpu_ms")):
        cells = {
            kind: [
                f"{float(row[column]) / 1e6:.1f}" if column == "macs" else f"{float(row[column]):.1f}" for row in own
            ]
            for kind, own in rows.items()
        }
        parts += ["Milliseconds of processor time:"] if number else []
        parts.append(markdown(["attention", *(f"{s} x {s}" for s in sides)], [[k, *own] for k, own in cells.items()]))
    return "\n\n".join(parts)


def cost_picture(name: str) -> str:
    return f"lab-{name.replace('_', '-')}-cost.png"


def cost_figure(folder: Path, name: str) -> Figure:
    """Multiply-adds and processor time of each kind of attention against the places of the map, all logarithmic."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained", dpi=110)
        plots = figure.subplots(1, 2)
        for plot, column, text in zip(
            plots, ("macs", "cpu_ms"), ("multiply-adds of a layer", "processor time of a layer (ms)")
        ):
            values: list[float] = []
            places: list[float] = []
            for (kind, own), colour in zip(cost_rows(folder, name).items(), COLOURS):
                places = [float(row["side"]) ** 2 for row in own]
                numbers = [float(row[column]) for row in own]
                values += numbers
                plot.plot(places, numbers, color=colour, marker="o", markersize=4, label=kind)
            scale_axis(plot.xaxis, places)
            scale_axis(plot.yaxis, values)
            plot.set_xlabel("places of the map")
            plot.set_ylabel(text)
        add_legend(figure, plots[0], "attention")
        return figure


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
