"""The report of a run: one HTML file without a single request to the network.

The page has what every run has: metrics, curves, time, environment, config. What a task shows of its results are
sections between them, each made by a file of its own.
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
    """All that a report shows. What is empty is left out.

    Attributes:
        title: of the page.
        lead: the first paragraph, above the note.
        note: what was measured on what.
        tiles: the metrics on top, name -> value.
        rows: of `metrics.jsonl`.
        sections: HTML of the task's results.
        phase_seconds: seconds of training by what they went to.
        config, environment: as the run wrote them.
        command: that runs it again.
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
    """The page as text. Names of classes and files are shown as text, whatever they hold."""
    return template("saccade.reporting", "page").render(
        data=report,
        curves=Markup(curves(report.rows)) if report.rows else "",
        phases=phases(report.phase_seconds),
    )


def phases(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """What the time went to, the largest first, in percent of the whole."""
    total = sum(seconds.values()) or 1.0
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return [{"name": name, "seconds": value, "percent": 100 * value / total} for name, value in ordered]


def picture(pixels: np.ndarray) -> str:
    """The picture as a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(to_png(pixels)).decode()


@cache
def template(package: str, name: str) -> Template:
    """The template NAME.html among the files of a package; what is filled in is escaped."""
    source = resources.files(package).joinpath(f"{name}.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source)
