"""The report of a study: one HTML page with the plot, the table of means, the study's file; and the runs as CSV."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from saccade.checkpoints.atomic import write_atomic
from saccade.engine.room import command
from saccade.lab.jobs import JobResult, StudyDirectory
from saccade.lab.results import Point, collect, duration, points, to_csv, value_name
from saccade.lab.study import Job, Study
from saccade.reporting.plots import to_svg
from saccade.reporting.report import Report, render_report
from saccade.reporting.study_plots import Marker, study_figure
from saccade.training.run_directory import RunDirectory


def write_study_report(folder: StudyDirectory, study: Study) -> tuple[Path, list[Point]]:
    """Write `report.html`, `results.csv` and `figure.png` of the jobs that are done.

    Returns:
        the page, and the points that it shows.

    Raises:
        ConfigError: no job is done, or none has the report's metric.
    """
    pairs = collect(folder, study)
    shown = points(study, pairs)
    figure = draw(study, shown)
    write_atomic(folder.path / "results.csv", to_csv(study, pairs).encode())
    write_atomic(folder.path / "figure.png", lambda path: figure.savefig(path, format="png"))
    page = folder.path / "report.html"
    write_atomic(page, render_report(make_report(folder, study, pairs, shown, to_svg(figure))).encode())
    return page, shown


def make_report(
    folder: StudyDirectory, study: Study, pairs: Sequence[tuple[Job, JobResult]], shown: Sequence[Point], svg: str
) -> Report:
    """The content of the page."""
    splits = ", ".join(dict.fromkeys(result.split for _, result in pairs))
    missing = len(study.jobs) - len(pairs)
    unfinished = f" {missing} of {len(study.jobs)} runs are not done and not shown." if missing else ""
    note = (
        f"{value_name(study)} on the {splits} split. Lines are means over seeds, bars 95 % intervals of the mean "
        f"(Student), dots single runs. Options that the grid does not name are the same for every run.{unfinished}"
    )
    return Report(
        title=study.config.title,
        note=note,
        tiles={
            "runs": str(len(pairs)),
            "seeds": str(len(study.config.seeds)),
            "training, all runs": duration(sum(result.seconds for _, result in pairs)),
            "FLOPs, all runs": f"{sum(result.flops for _, result in pairs):.2e}",
        },
        sections=[Markup(f'<div class="card wide">{svg}</div>'), table(study, shown)],
        config=study.text,
        environment=RunDirectory(folder.jobs / pairs[0][0].id).environment(),
        command=command("saccade", "lab", "run", folder.path / "study.yaml", "--output", folder.path),
    )


def draw(study: Study, shown: Sequence[Point]) -> Figure:
    """The plot: along the study's axis, and against compute."""
    return study_figure(lines(study, shown), study.x, value_name(study))


def lines(study: Study, shown: Sequence[Point]) -> dict[str, list[Marker]]:
    """The points by line."""
    axes = [study.config.report.lines] if study.config.report.lines else [a for a in study.axes if a != study.x]
    others = [axis for axis in study.axes if axis not in (study.x, *axes)]
    grouped: dict[str, list[Marker]] = {}
    for point in shown:
        name = ", ".join(str(point.levels[axis]) for axis in (*axes, *others)) or study.config.report.metric
        marker = Marker(point.levels[study.x], point.flops, point.mean, point.interval, point.values)
        grouped.setdefault(name, []).append(marker)
    return grouped


def table(study: Study, shown: Sequence[Point]) -> Markup:
    """A row for each point: mean, interval, lowest and highest seed, cost."""
    head = [*study.axes, "seeds", value_name(study), "95 % interval", "lowest", "highest", "parameters", "FLOPs", "s"]
    rows = [
        [
            *(str(level) for level in point.levels.values()), str(len(point.values)), f"{point.mean:.4f}",
            "" if point.interval is None else f"{point.interval[0]:.4f} to {point.interval[1]:.4f}",
            f"{min(point.values):.4f}", f"{max(point.values):.4f}", f"{point.params:,}", f"{point.flops:.2e}",
            f"{point.seconds:.1f}",
        ]
        for point in shown
    ]  # fmt: skip
    cells = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    header = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "\n".join(cells)
    return Markup(f'<h2>Points</h2><div class="card"><table><thead><tr>{header}</tr></thead>\n{body}</table></div>')
