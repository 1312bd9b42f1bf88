"""The report of a run: one HTML file without a single request to the network."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from saccade.analysis.attention_distance import AttentionDistance
from saccade.analysis.attention_maps import Explanation
from saccade.analysis.patch_filters import PatchFilters
from saccade.reporting.draw import enlarge, overlay, to_png
from saccade.reporting.plots import attention_distances, curves, filter_grid, position_grid, reliability
from saccade.tasks.predictions import ClassificationMetrics

LARGEST_CONFUSION = 40  # classes; above it the commonest confusions are listed instead of the whole matrix
LARGEST_TABLE = 200


@dataclass(frozen=True)
class Mistake:
    """A picture that the model is sure about, and wrong."""

    truth: str
    explanation: Explanation


@dataclass(frozen=True)
class ReportData:
    """All that a report shows. What is None or empty is left out.

    Attributes:
        title: of the page.
        summary: the first lines: name -> value.
        rows: of `metrics.jsonl`.
        split: which one `metrics` are of.
        metrics: how well the model does there.
        labels: class names.
        examples: some right answers, so that mistakes can be compared.
        mistakes: the most confident first.
        similarity: of positions, ``[h, w, h, w]``.
        filters: of the patch embedding.
        distance: of attention.
        time_shares: what the seconds went to.
        config, environment: as the run wrote them.
        command: that runs it again.
    """

    title: str
    summary: Mapping[str, str]
    rows: Sequence[Mapping[str, float]] = ()
    split: str = "test"
    metrics: ClassificationMetrics | None = None
    labels: Sequence[str] = ()
    examples: Sequence[Explanation] = ()
    mistakes: Sequence[Mistake] = ()
    similarity: np.ndarray | None = None
    filters: PatchFilters | None = None
    distance: AttentionDistance | None = None
    time_shares: Mapping[str, float] = field(default_factory=dict)
    config: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def render_report(data: ReportData) -> str:
    """The page as text. Names of classes and files are shown as text, whatever they hold."""
    metrics = data.metrics
    small = metrics is not None and len(data.labels) <= LARGEST_CONFUSION
    return _template().render(
        data=data,
        metrics=metrics,
        curves=Markup(curves(data.rows)) if data.rows else "",
        reliability=Markup(reliability(metrics.reliability)) if metrics else "",
        confusion=confusion_rows(metrics.confusion) if metrics and small else [],
        confusions=common_confusions(metrics.confusion, data.labels) if metrics else [],
        classes=sorted(metrics.per_class, key=lambda row: row.f1)[:LARGEST_TABLE] if metrics else [],
        distance=Markup(attention_distances(data.distance.pixels)) if data.distance is not None else "",
        positions=picture(position_grid(data.similarity)) if data.similarity is not None else "",
        filters=picture(filter_grid(data.filters.filters)) if data.filters is not None else "",
        shares=shares(data.time_shares),
        mistakes=[card(m.explanation, m.truth) for m in data.mistakes],
        examples=[card(e, "") for e in data.examples],
    )


def confusion_rows(confusion: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    """Each cell's number and its share of its row, for the shade."""
    return [
        [{"count": n, "share": n / max(sum(row), 1), "right": i == j} for j, n in enumerate(row)]
        for i, row in enumerate(confusion)
    ]


def common_confusions(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], most: int = 12
) -> list[tuple[str, str, int]]:
    """(true class, predicted class, images), the commonest first."""
    pairs = [(labels[i], labels[j], n) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]


def shares(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """What the time went to, the largest first, with its share in percent."""
    total = sum(seconds.values()) or 1.0
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return [{"name": name, "seconds": value, "percent": 100 * value / total} for name, value in ordered]


def card(explanation: Explanation, truth: str) -> dict[str, str]:
    """A picture beside where the model looked, with what it says."""
    return {
        "name": explanation.name,
        "label": explanation.label,
        "score": "" if explanation.score is None else f"{explanation.score:.0%}",
        "truth": truth,
        "image": picture(enlarge(explanation.image)),
        "attention": picture(overlay(explanation.image, explanation.rollout)),
    }


def picture(pixels: np.ndarray) -> str:
    """The picture as a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(to_png(pixels)).decode()


@cache
def _template():
    source = resources.files("saccade.reporting").joinpath("templates", "report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source)
