"""The report of a study: one HTML page with plots, tables of means and the study's file; and the runs as CSV."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from saccade.checkpoints.atomic import write_atomic
from saccade.engine.room import command
from saccade.lab.config import PanelConfig
from saccade.lab.expectation import findings, first_paragraph
from saccade.lab.export import run_rows, to_csv, write_parquet
from saccade.lab.grid import Job
from saccade.lab.jobs import JobResult, StudyDirectory
from saccade.lab.labels import label
from saccade.lab.results import Point, collect, duration, points, value_name
from saccade.lab.scaling import fit_lines
from saccade.lab.sections import budget_section, expectation_section, html_table, scaling_section
from saccade.lab.study import LAYER, Study
from saccade.reporting.plots import to_svg
from saccade.reporting.report import Report, render_report
from saccade.reporting.study_plots import Marker, study_figure
from saccade.training.run_directory import RunDirectory


def write_study_report(
    folder: StudyDirectory, study: Study, *, parquet: bool = False
) -> tuple[Path, list[list[Point]]]:
    """Write `report.html`, `results.csv` and a picture of each plot (`figure.png`, `figure-2.png`, …) of the jobs that
    are done.

    Args:
        folder: of the study.
        study: its runs.
        parquet: whether to write `results.parquet` too, which needs pyarrow.

    Returns:
        the page, and the points that each plot shows.

    Raises:
        ConfigError: no job is done, or none has the number of a plot.
    """
    pairs = collect(folder, study)
    groups = [points(study, panel, pairs) for panel in study.config.report]
    figures = [draw(study, panel, group) for panel, group in zip(study.config.report, groups)]
    rows = run_rows(study, pairs)
    write_atomic(folder.path / "results.csv", to_csv(rows).encode())
    if parquet:
        write_parquet(rows, folder.path / "results.parquet")
    for count, figure in enumerate(figures, 1):
        end = "" if count == 1 else f"-{count}"
        write_atomic(folder.path / f"figure{end}.png", lambda path, f=figure: f.savefig(path, format="png"))
    page = folder.path / "report.html"
    write_atomic(page, render_report(make_report(folder, study, pairs, groups, figures)).encode())
    return page, groups


def make_report(
    folder: StudyDirectory,
    study: Study,
    pairs: Sequence[tuple[Job, JobResult]],
    groups: Sequence[Sequence[Point]],
    figures: Sequence[Figure],
) -> Report:
    """The content of the page."""
    splits = ", ".join(dict.fromkeys(result.split for _, result in pairs if result.split))
    missing = len(study.jobs) - len(pairs)
    unfinished = f" {missing} of {len(study.jobs)} runs are not done and not shown." if missing else ""
    note = (
        f"Metrics are of the {splits} split. Lines are means over seeds, bars 95 % intervals of the mean (Student), "
        f"dots single runs. Options that the grid does not name are the same for every run.{unfinished}"
    )
    results = findings(study, pairs)
    everything = [*pairs, *((job, r) for job in study.runs if job.stage and (r := folder.result(job)) is not None)]
    sections = [*expectation_section(results), *budget_section(study, pairs)]
    for panel, group, figure in zip(study.config.report, groups, figures):
        title = panel.title or f"{value_name(panel)} by {label(study.x(panel))}"
        width = "wide" if len(figure.axes) > 1 else "single"  # of two plots side by side, or of one
        plot = Markup(f'<h2>{escape(title)}</h2><div class="card {width}">{to_svg(figure)}</div>')
        sections += [plot, table(study, panel, group)]
        if panel.fit:
            sections += scaling_section(panel, fit_lines(study, panel, pairs))
    return Report(
        title=study.config.title,
        lead=first_paragraph(results, len(study.config.seeds)),
        note=note,
        tiles={
            "runs": str(len(everything)),
            "seeds": str(len(study.config.seeds)),
            "processor time of training, all runs": duration(sum(result.cpu_seconds for _, result in everything)),
            "FLOPs, all runs": f"{sum(result.flops for _, result in everything):.2e}",
        },
        sections=sections,
        config=study.text,
        environment=RunDirectory(folder.jobs / pairs[0][0].id).environment(),
        command=command("saccade", "lab", "run", folder.path / "study.yaml", "--output", folder.path),
    )


def draw(study: Study, panel: PanelConfig, group: Sequence[Point]) -> Figure:
    """The plot: along the panel's x, and against compute where x is an axis of the grid."""
    x = study.x(panel)
    return study_figure(
        lines(study, panel, group), label(x), value_name(panel), compute=x in study.axes,
        legend=", ".join(map(label, line_axes(study, panel))),
    )  # fmt: skip


def lines(study: Study, panel: PanelConfig, group: Sequence[Point]) -> dict[str, list[Marker]]:
    """The points by line. Where x is a number of each run, a line joins the levels of the axes that `lines` leaves."""
    axes = line_axes(study, panel)
    grouped: dict[str, list[Marker]] = {}
    for point in group:
        name = ", ".join(str(point.levels[axis]) for axis in axes) or value_name(panel)
        marker = Marker(point.x, point.flops + point.stage_flops, point.mean, point.interval, point.values)
        grouped.setdefault(name, []).append(marker)
    return grouped


def line_axes(study: Study, panel: PanelConfig) -> list[str]:
    """The axes with a line for each level."""
    x = study.x(panel)
    free = [axis for axis in study.axes if axis != x]
    axes = [panel.lines] if panel.lines else free
    if x in (*study.axes, LAYER):  # each point of a line has its own x: what else differs is another line
        axes = [*axes, *(axis for axis in free if axis not in axes)]
    return axes


def table(study: Study, panel: PanelConfig, group: Sequence[Point]) -> Markup:
    """A row for each point: mean, interval, lowest and highest seed, cost."""
    x = study.x(panel)
    extra = [] if x in study.axes else [label(x)]
    before = ["FLOPs before"] if any(point.stage_flops for point in group) else []
    head = [
        *study.axes, *extra, "seeds", value_name(panel), "95 % interval", "lowest", "highest", "parameters", "FLOPs",
        *before, "processor s",
    ]  # fmt: skip
    rows = [
        [
            *(str(level) for level in point.levels.values()), *(text(point.x) for _ in extra), str(len(point.values)),
            text(point.mean),
            interval_text(point),
            text(min(point.values)), text(max(point.values)), f"{point.params:,}", f"{point.flops:.2e}",
            *(f"{point.stage_flops:.2e}" for _ in before), f"{point.cpu_seconds:.1f}",
        ]
        for point in group
    ]  # fmt: skip
    return html_table(head, rows)


def interval_text(point: Point) -> str:
    """The ends; of numbers of which none is negative, the lower one is not below 0, as in the plots."""
    if point.interval is None:
        return ""
    low, high = point.interval
    return f"{text(max(low, 0.0) if min(point.values) >= 0 else low)} to {text(high)}"


def text(value: float) -> str:
    """Four decimals for what is measured, powers of ten for what is counted."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.3g}"
