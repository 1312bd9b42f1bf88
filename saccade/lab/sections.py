"""Parts of a study's report: what was expected, budgets of the sides, scaling laws; as HTML."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from saccade.analysis.joint_scaling import JointScalingLaw
from saccade.lab.config import PanelConfig
from saccade.lab.expectation import Finding
from saccade.lab.grid import Job, describe
from saccade.lab.jobs import JobResult
from saccade.lab.labels import label
from saccade.lab.results import value_name
from saccade.lab.scaling import JOINT, LineFit
from saccade.lab.study import Study
from saccade.reporting.plots import to_svg
from saccade.reporting.scaling_plots import joint_figure, scaling_figure

EQUAL = 1.05  # budgets that differ by less than this factor count as equal


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> Markup:
    """A table in a card; every cell is escaped. `kind` is a class of the page's style."""
    header = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return Markup(f'<div class="card"><table class="{kind}"><thead><tr>{header}</tr></thead>\n{body}</table></div>')


def note(text: str) -> Markup:
    return Markup(f'<p class="note">{escape(text)}</p>')


def expectation_section(findings: Sequence[Finding]) -> list[Markup]:
    """Each claim with the comparisons behind its verdict."""
    if not findings:
        return []
    rows = []
    for finding in findings:
        for one in finding.comparisons:
            interval = "" if one.interval is None else f"{one.interval[0]:+.4g} to {one.interval[1]:+.4g}"
            rows.append([
                finding.expectation.claim, describe(one.at), f"{one.lower} below {one.higher}",
                f"{one.means[0]:.4g}, {one.means[1]:.4g}", interval, str(one.seeds), one.verdict,
            ])  # fmt: skip
        if not finding.comparisons:
            rows.append([finding.expectation.claim, "", "", "", "", "0", "undecided"])
    head = ["expectation", "at", "order", "means", "95 % interval of the difference", "seeds", "verdict"]
    text = (
        "Written into the study's file. Differences are taken seed by seed; their interval is Student's, of each "
        "comparison alone. An expectation is contradicted by a single comparison, and confirmed by all of its own."
    )
    return [Markup("<h2>Expectations</h2>"), note(text), html_table(head, rows, "claims")]


def budget_section(study: Study, pairs: Sequence[tuple[Job, JobResult]]) -> list[Markup]:
    """What each side had: parameters, inputs, compute and trials; and whether that is equal."""
    axis = study.config.report[0].lines or next((a for a in study.axes if a != study.x(study.config.report[0])), "")
    groups: dict[Any, list[JobResult]] = {}
    for job, result in pairs:
        groups.setdefault(job.levels[axis] if axis else "all", []).append(result)
    rows, compute = [], {}
    for level, results in groups.items():
        flops = [result.flops + result.stage_flops for result in results]
        compute[level] = float(np.mean(flops))
        rows.append([
            str(level), str(len(results)), _span([result.params for result in results]),
            _span([result.inputs for result in results]), _span(flops),
            _span([result.cpu_seconds + result.stage_cpu_seconds for result in results]),
            str(study.config.tuned.get(level, {}).get("trials", 0)),
        ])  # fmt: skip
    head = [axis or "side", "runs", "parameters", "inputs seen", "FLOPs", "processor s", "trials of tuning"]
    return [Markup("<h2>Budgets</h2>"), note(f"{_equality(compute)} {tuning(study)}".strip()), html_table(head, rows)]


def tuning(study: Study) -> str:
    """How the options of the sides were chosen, in a sentence."""
    tuned = study.config.tuned
    if not tuned:
        return "No side was tuned by saccade lab tune: options are those of the study's file."
    counts = {level: record["trials"] for level, record in tuned.items()}
    axis = study.config.tune.axis if study.config.tune else ""
    untuned = [str(level) for level in study.levels(axis) if level not in tuned] if axis else []
    if len(set(counts.values())) > 1 or untuned:
        listed = ", ".join(f"{level} {count}" for level, count in counts.items())
        return f"Tuning was not equal: trials of {listed}" + (f"; none of {', '.join(untuned)}." if untuned else ".")
    edges = [f"{level}: {', '.join(r['at_edge'])}" for level, r in tuned.items() if r.get("at_edge")]
    text = (
        f"Each side was tuned with {next(iter(counts.values()))} trials of one search space, on the validation split."
    )
    return text + (f" Best values at an edge of the space, so perhaps outside: {'; '.join(edges)}." if edges else "")


def scaling_section(panel: PanelConfig, fits: Sequence[LineFit]) -> list[Markup]:
    """The law of each line: plot, parameters, the held-out run, the frontier, what larger budgets should buy."""
    parts: list[Markup] = []
    cost = "flops" if panel.fit == JOINT else panel.fit
    for fit in fits:
        title = "Scaling law" + (f", {fit.name}" if fit.name else "")
        parts.append(Markup(f"<h2>{escape(title)}</h2>"))
        if fit.law is None:
            parts.append(note(f"No law was fitted: {fit.problem}."))
        elif isinstance(fit.law, JointScalingLaw):
            parts.append(Markup(f'<div class="card single">{to_svg(joint_figure(fit.law))}</div>'))
        else:
            figure = scaling_figure(fit.law, label(cost), value_name(panel))
            parts.append(Markup(f'<div class="card single">{to_svg(figure)}</div>'))
        if fit.law is not None:
            held = "" if isinstance(fit.law, JointScalingLaw) or fit.law.held_out else NOT_HELD_OUT
            parts.append(Markup(f'<div class="card"><pre>{escape(fit.law)}{held}</pre></div>'))
        if fit.allocations:
            rows = [
                [f"{budget:.3g}", f"{best.params:.3g}", f"{best.inputs:.3g}", f"{best.error:.4f}"]
                for budget, best in fit.allocations
            ]
            parts += [note(BUDGET), html_table(["FLOPs", "parameters", "inputs seen", "predicted error"], rows)]
        if fit.optima:
            rows = [
                [describe(p.levels), f"{p.cost:.3g}", f"{p.params:,.0f}", f"{p.inputs:,.0f}", f"{p.error:.4f}"]
                for p in fit.optima
            ]
            head = ["point", label(cost), "parameters", "inputs seen", value_name(panel)]
            parts += [note(FRONTIER), html_table(head, rows)]
    return parts


NOT_HELD_OUT = "\nnote: no run was held out: a sixth cost would be predicted and compared"
BUDGET = (
    "How the law divides a budget between model and data: the first is of the costliest run, the others are "
    "10 and 100 times as large, outside of what was measured."
)
FRONTIER = "The compute-optimal frontier: points that no point of the same or a smaller cost beats."


def _equality(compute: dict[Any, float]) -> str:
    if len(compute) < 2:
        return ""
    low, high = min(compute, key=lambda level: compute[level]), max(compute, key=lambda level: compute[level])
    factor = compute[high] / max(compute[low], 1e-9)
    if factor <= EQUAL:
        return "The sides had equal compute."
    return f"The sides did not have equal compute: {high} had {factor:.3g} times the FLOPs of {low}, on average."


def _span(values: Sequence[float]) -> str:
    """Such as "15,626" or "2.5e+09 to 6.9e+10"."""
    low, high = (f"{v:,.0f}" if v < 1e7 else f"{v:.3g}" for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
