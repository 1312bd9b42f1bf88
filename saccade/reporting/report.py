"""The report of a run: one HTML file without network requests.

The page has the parts common to every run: metrics, curves, time, environment, config. A task's results are sections
between them, each made by its own file.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from saccade.reporting.draw import to_png
from saccade.reporting.plots import curves


@dataclass(frozen=True)
class Report:
    """Content of a report. Empty parts are left out.

    Attributes:
        title: title of the page.
        lead: the first paragraph, above the note.
        note: the split and data of the measurement.
        tiles: the metrics at the top, name -> value.
        rows: rows of `metrics.jsonl`.
        sections: HTML of the task's results.
        phase_seconds: seconds of training by phase.
        config, environment: as written by the run.
        command: command that repeats the run.
    """

    title: str
    lead: str = ""
    note: str = ""
    tiles: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Mapping[str, float]] = ()
    sections: Sequence[str] = ()  # Markup
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    config: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def render_report(report: Report) -> str:
    """The page as text. Names of classes and files are escaped."""
    return template("saccade.reporting", "page").render(
        data=report,
        curves=Markup(curves(report.rows)) if report.rows else "",
        phases=phases(report.phase_seconds),
    )


def phases(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Share of the time by phase in percent, the largest first."""
    total = sum(seconds.values()) or 1.0
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return [{"name": name, "seconds": value, "percent": 100 * value / total} for name, value in ordered]


def picture(pixels: np.ndarray) -> str:
    """The picture as a `data:` URL."""
    return "data:image/png;base64," + base64.b64encode(to_png(pixels)).decode()


@cache
def template(package: str, name: str) -> Template:
    """The template NAME.html of a package; values are escaped."""
    source = resources.files(package).joinpath(f"{name}.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source)
