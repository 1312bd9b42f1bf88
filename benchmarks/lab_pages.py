"""Figure and table of every page about a study that ships, from its results.

    python benchmarks/lab_pages.py --take data_size studies/data_size    the results of a finished study, to docs/lab
    python benchmarks/lab_pages.py [NAME ...]                            figures and tables from what lies in docs/lab
    python benchmarks/lab_pages.py --check                               exit code 1 if a page has other numbers

`docs/lab/NAME.csv` has a row for each run, `docs/lab/NAME.json` machine, date and processor time, and
`docs/lab/NAME-tuning.csv` the learning rates compared (benchmarks/lab_tuning.py); `docs/lab/NAME-earlier.csv`,
where there is one, has runs with options that the study no longer has, and `docs/lab/NAME-cost.csv` the cost of layers
by size (benchmarks/attention_cost.py). What stands on
`docs/lab-NAME.md` between the two comments is written from them; the text around it is not.
"""

import argparse
import csv
import json
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from lab_cost import cost_figure, cost_picture, cost_section, markdown
from machine import describe
from matplotlib.figure import Figure

from saccade.analysis.joint_scaling import fit_joint_scaling_law
from saccade.analysis.scaling_laws import fit_scaling_law, frontier
from saccade.errors import SaccadeError
from saccade.lab.config import PanelConfig
from saccade.lab.export import COLUMNS, run_rows, to_csv
from saccade.lab.grid import Job
from saccade.lab.jobs import JobResult, StudyDirectory
from saccade.lab.measuring import Value
from saccade.lab.report import draw
from saccade.lab.results import Point, collect, duration, points, value_name
from saccade.lab.study import LAYER, Study, read_study, shipped_studies
from saccade.reporting.plots import COLOURS, STYLE
from saccade.reporting.study_plots import scale_axis

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- results: python benchmarks/lab_pages.py -->", "<!-- end of results -->"
LAWS = "scaling-laws.txt"
COLUMNS_OF_PLOTS = 3
DIGITS = 6  # significant ones in the tables of runs
Pairs = list[tuple[Job, JobResult]]


def take(name: str, path: Path) -> None:
    """Copy the results of a finished study to docs/lab."""
    study, folder = read_study(name), StudyDirectory(path)
    pairs = collect(folder, study)
    if len(pairs) != len(study.jobs):
        raise SystemExit(f"{len(pairs)} of {len(study.jobs)} runs of {name} are done in {path}")
    results = [result for job in study.runs if (result := folder.result(job)) is not None]
    rows = [{k: rounded(v) if isinstance(v, float) else v for k, v in r.items()} for r in run_rows(study, pairs)]
    (DOCS / "lab").mkdir(exist_ok=True)
    (DOCS / "lab" / f"{name}.csv").write_text(to_csv(rows), encoding="utf-8")
    about = {
        "machine": describe().rsplit(", ", 1)[0],
        "date": max(result.finished for result in results)[:10],
        "runs": len(results),
        "cpu_seconds": round(sum(result.cpu_seconds for result in results)),
    }
    (DOCS / "lab" / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    if name == "scaling":  # its bootstrap takes seconds, and its last digits depend on the machine
        (DOCS / "lab" / LAWS).write_text(scaling_laws(study, stored(name, study)), encoding="utf-8")


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def stored(name: str, study: Study) -> Pairs:
    """The runs of a study as docs/lab has them; each must be a run of the study's file as it is now."""
    jobs = {job.id: job for job in study.jobs}
    with open(DOCS / "lab" / f"{name}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if {row["job"] for row in rows} != set(jobs):
        raise SystemExit(f"docs/lab/{name}.csv has other runs than the study {name}: run it and take its results anew")
    layered = [panel.metric for panel in study.config.report if study.x(panel) == LAYER]
    pairs = []
    for row in rows:
        job = jobs[row["job"]]
        known = {"job", "seed", "split", *study.axes, *COLUMNS}
        numbers = {k: float(v) for k, v in row.items() if k not in known and not k.startswith("error (") and v}
        layers: dict[str, Value] = {
            m: [v for k, v in numbers.items() if re.fullmatch(rf"{re.escape(m)}_\d+", k)] for m in layered
        }
        costs = {column: float(row[column]) for column in COLUMNS}
        result = JobResult(
            id=job.id, levels=dict(job.levels), seed=job.seed, split=row["split"], metrics=numbers,
            params=int(costs["params"]), inputs=int(costs["inputs"]), flops=costs["flops"], seconds=costs["seconds"],
            wall_seconds=0.0, finished="", cpu_seconds=costs["cpu_seconds"], stage_flops=costs["stage_flops"],
            stage_cpu_seconds=costs["stage_cpu_seconds"], measures={"layers": layers},
        )  # fmt: skip
        pairs.append((job, result))
    order = {job.id: index for index, job in enumerate(study.jobs)}
    return sorted(pairs, key=lambda pair: order[pair[0].id])


def block(name: str) -> str:
    """What stands on a page between the comments."""
    study = read_study(name)
    pairs = stored(name, study)
    about = json.loads((DOCS / "lab" / f"{name}.json").read_text(encoding="utf-8"))
    parts = [
        f"![{study.config.title if panel is None else title(panel)}](images/{picture})"
        for picture, panel in pictures(name, study).items()
    ]
    parts.append(
        f"Mean over {len(study.config.seeds)} seeds with Student's 95 % interval of the mean; every run is in "
        f"[{name}.csv](lab/{name}.csv)."
    )
    parts.append(main_table(study, pairs))
    for panel in study.config.report:
        if study.x(panel) == LAYER:
            parts.append(
                f"{title(panel)}, by layer, mean ± half of the interval:\n\n{layer_table(study, panel, pairs)}"
            )
    if name == "scaling":
        parts.append((DOCS / "lab" / LAWS).read_text(encoding="utf-8").strip())
    if (DOCS / "lab" / f"{name}-tuning.csv").is_file():
        parts.append(tuning_table(name))
    if (DOCS / "lab" / f"{name}-earlier.csv").is_file():
        parts.append(earlier_table(name))
    if (DOCS / "lab" / f"{name}-cost.csv").is_file():
        parts.append(cost_section(DOCS / "lab", name))
    parts.append(
        f"{about['runs']} runs, {duration(about['cpu_seconds'])} of processor time for training in all: "
        f"{about['machine']}, {about['date']}."
    )
    return "\n\n".join(parts)


def pictures(name: str, study: Study) -> dict[str, PanelConfig | None]:
    """Files of a page's plots: the first and those over layers; None for one of all panels side by side, where a study
    has a single axis, of names."""
    stem = f"lab-{name.replace('_', '-')}"
    layers = [panel for panel in study.config.report if study.x(panel) == LAYER]
    if len(study.axes) == 1 and not layers:
        return {f"{stem}.png": None}
    panels = layers or [study.config.report[0]]
    return {f"{stem}{f'-{i}' if i else ''}.png": panel for i, panel in enumerate(panels)}


def side_by_side(study: Study, pairs: Pairs) -> Figure:
    """A plot for each panel: the levels of the only axis below each other, means with intervals, each seed as a dot."""
    (axis,) = study.axes
    names = [str(level) for level in study.levels(axis)]
    panels = study.config.report
    columns = min(COLUMNS_OF_PLOTS, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        size = (1.6 + 2.7 * columns, rows * (1.1 + 0.38 * len(names)))
        figure = Figure(figsize=size, layout="constrained", dpi=110)
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for panel, plot in zip(panels, grid.flat):
            group = points(study, panel, pairs)
            for point in group:
                place = names.index(str(point.levels[axis]))
                low, high = point.interval or (point.mean, point.mean)
                plot.scatter(point.values, [place] * len(point.values), color=COLOURS[place], s=9, alpha=0.6)
                plot.hlines(place, max(low, 0.0), high, color=COLOURS[place], alpha=0.5)
                plot.plot([point.mean], [place], color=COLOURS[place], marker="o", markersize=5)
            plot.margins(x=0.06)
            scale_axis(plot.xaxis, [value for point in group for value in (*point.values, 0.0)])
            plot.set_xlim(left=0)
            plot.set_xlabel(textwrap.fill(title(panel), 46), fontsize=8)
        for plot in grid.flat[len(panels) :]:
            plot.set_axis_off()
        grid[0][0].set_yticks(range(len(names)), names)
        grid[0][0].set_ylim(len(names) - 0.5, -0.5)
        return figure


def title(panel: PanelConfig) -> str:
    return panel.title or value_name(panel)


def main_table(study: Study, pairs: Pairs) -> str:
    """A row for each point of the grid: cost, and every number that is not by layer, of each seed for the first."""
    panels = [panel for panel in study.config.report if study.x(panel) != LAYER]
    columns = [{repr(dict(p.levels)): p for p in points(study, panel, pairs)} for panel in panels]
    head = [*study.axes, "parameters", "training FLOPs", "CPU s a run"]
    for number, panel in enumerate(panels):
        head += [title(panel), *(["95 % interval", "each seed"] if number == 0 else [])]
    rows = []
    for key, point in columns[0].items():
        row = [*map(str, point.levels.values()), f"{point.params:,}", f"{point.flops + point.stage_flops:.1e}"]
        row.append(f"{point.cpu_seconds:.1f}")
        for number, (panel, column) in enumerate(zip(panels, columns)):
            if key not in column:
                row.append("")
            elif number:
                row.append(with_half(column[key]))
            else:
                row += [text(point.mean), interval(panel, point), ", ".join(map(text, point.values))]
        rows.append(row)
    return markdown(head, rows)


def layer_table(study: Study, panel: PanelConfig, pairs: Pairs) -> str:
    """A row for each point of the grid, a column for each layer."""
    rows: dict[str, list[str]] = {}
    for point in points(study, panel, pairs):
        row = rows.setdefault(repr(dict(point.levels)), list(map(str, point.levels.values())))
        row.append(with_half(point))
    depth = max(len(row) for row in rows.values()) - len(study.axes)
    return markdown([*study.axes, *(f"layer {i}" for i in range(1, depth + 1))], list(rows.values()))


def tuning_table(name: str) -> str:
    """The validation metric of each rate, the best in bold."""
    with open(DOCS / "lab" / f"{name}-tuning.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    axis, _, metric, _ = rows[0]
    rates = list(dict.fromkeys(row["optimizer.lr"] for row in rows))
    lines: dict[str, list[str]] = {}
    for level, rate in best_rates(rows).items():
        mine = [row for row in rows if row[axis] == level]
        cells = [f"{float(row[metric]):.3f}" for row in mine]
        lines[level] = [level, *(f"**{c}**" if row["optimizer.lr"] == rate else c for c, row in zip(cells, mine))]
    measured = "accuracy on 287 validation images" if metric == "val_accuracy" else "AP on 200 validation scenes"
    return (
        f"Learning rates, the same for each side: {measured} with a seed of its own "
        f"(`python benchmarks/lab_tuning.py {name}`); each side uses its best one. The test images were not used.\n\n"
        + markdown([axis, *(f"rate {rate}" for rate in rates)], list(lines.values()))
    )


def earlier_table(name: str) -> str:
    """Runs that are not in the other tables, as their file has them."""
    with open(DOCS / "lab" / f"{name}-earlier.csv", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return f"Runs made before the learning rates were compared; none is in the tables above.\n\n{markdown(head, rows)}"


def best_rates(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """The rate of each level with the highest validation metric, of equal ones that with the lower loss."""
    axis, _, metric, _ = rows[0]
    best: dict[str, dict[str, str]] = {}
    for row in rows:
        other = best.get(row[axis])
        if other is None or _rank(row, metric) > _rank(other, metric):
            best[row[axis]] = row
    return {level: row["optimizer.lr"] for level, row in best.items()}


def _rank(row: dict[str, str], metric: str) -> tuple[float, float]:
    return float(row[metric]), -float(row["val_loss"] or 0.0)  # a detector logs no validation loss


def tuned_record(rows: Sequence[dict[str, str]]) -> dict[str, dict[str, Any]]:
    """What a study's file has under `tuned`: trials and best options of each level, as saccade lab tune writes them."""
    axis, rate, metric, _ = rows[0]
    record: dict[str, dict[str, Any]] = {}
    for level, best in best_rates(rows).items():
        mine = {row[rate]: row for row in rows if row[axis] == level}
        values = sorted(map(float, mine))
        record[level] = {
            "trials": len(mine), metric: rounded(float(mine[best][metric])), "options": {rate: float(best)},
            "at_edge": [rate] if float(best) in (values[0], values[-1]) else [],
        }  # fmt: skip
    return record


def scaling_laws(study: Study, pairs: Pairs) -> str:
    """The law of the frontier, which predicts its largest run; and the law of parameters and inputs."""
    means = points(study, study.config.report[0], pairs)
    best = frontier([point.flops for point in means], [point.mean for point in means])
    ends = [(means[i].flops, means[i].mean) for i in best]
    *fitted, largest = sorted(ends)
    law = fit_scaling_law([c for c, _ in fitted], [e for _, e in fitted], held_out=[largest])
    inputs = {repr(dict(job.levels)): result.inputs for job, result in pairs}
    joint = fit_joint_scaling_law(
        [point.params for point in means], [inputs[repr(dict(point.levels))] for point in means],
        [point.mean for point in means],
    )  # fmt: skip
    widths = ", ".join(f"{means[i].levels['width']} ({means[i].flops:.1e})" for i in best)
    return (
        f"Widths on the frontier, where no cheaper run is better, with their FLOPs: {widths}.\n\nThe law of the "
        f"frontier without its largest run, which it predicts:\n\n    {indented(str(law))}\n\n"
        f"Parameters and inputs, all points:\n\n    {indented(str(joint))}\n"
    )


def indented(lines: str) -> str:
    return lines.replace("\n", "\n    ")


def interval(panel: PanelConfig, point: Point) -> str:
    """The ends; an error's lower end is not below 0."""
    assert point.interval is not None
    low, high = point.interval
    return f"{text(max(low, 0.0) if panel.as_error else low)} to {text(high)}"


def with_half(point: Point) -> str:
    assert point.interval is not None
    half = point.interval[1] - point.mean
    return text(point.mean) if half == 0 else f"{text(point.mean)} ± {text(half)}"


def text(value: float) -> str:
    """Three decimals for what is measured, powers of ten for what is counted."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.2e}"


def page(name: str) -> Path:
    return DOCS / f"lab-{name.replace('_', '-')}.md"


def with_block(name: str) -> tuple[str, str]:
    """A page as it is, and as it is to be."""
    before = page(name).read_text(encoding="utf-8")
    if before.count(BEGIN) != 1 or before.count(END) != 1:
        raise SystemExit(f"{page(name)} must have the lines {BEGIN} and {END} once")
    head, rest = before.split(BEGIN)
    return before, f"{head}{BEGIN}\n\n{block(name)}\n\n{END}{rest.split(END)[1]}"


def stray_numbers(name: str) -> list[str]:
    """Measured numbers of a page's own text (three decimals, so 0.123) that its results do not have."""
    text_of_page = page(name).read_text(encoding="utf-8")
    head, rest = text_of_page.split(BEGIN)
    own = head + rest.split(END)[1]
    return [number for number in re.findall(r"\b\d+\.\d{3}\b", own) if number not in rest.split(END)[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of studies; all unless given")
    parser.add_argument("--take", nargs=2, metavar=("NAME", "FOLDER"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.take:
        take(options.take[0], Path(options.take[1]))
    differing = []
    for name in options.names or ([options.take[0]] if options.take else shipped_studies()):
        try:
            before, after = with_block(name)
        except (OSError, SaccadeError) as error:
            raise SystemExit(f"{name}: {error}") from None
        if options.check:
            differing += [name] if before != after else []
            differing += [f"{name}: {number} is not in its results" for number in stray_numbers(name)]
            continue
        page(name).write_text(after, encoding="utf-8")
        study = read_study(name)
        pairs = stored(name, study)
        for picture, panel in pictures(name, study).items():
            alone = panel is not None
            figure = draw(study, panel, points(study, panel, pairs)) if alone else side_by_side(study, pairs)
            figure.savefig(DOCS / "images" / picture, format="png", dpi=110)
        if (DOCS / "lab" / f"{name}-cost.csv").is_file():
            cost_figure(DOCS / "lab", name).savefig(DOCS / "images" / cost_picture(name), format="png", dpi=110)
    if differing:
        sys.exit("\n".join(differing))


if __name__ == "__main__":
    main()
