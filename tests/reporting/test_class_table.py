"""Tables of classes: sorted by any column without a script, folded where there are many."""

import re

import numpy as np
import pytest

from saccade.reporting.class_table import LARGEST, OPEN, SHOWN, Column, class_table
from saccade.reporting.report import Report, render_report
from saccade.tasks.classification.metrics import ClassificationMetrics, ClassMetrics
from saccade.tasks.classification.report import classification_section
from saccade.tasks.detection.metrics import ClassAP, DetectionMetrics
from saccade.tasks.detection.report import detection_section


def places(html: str, column: int) -> dict[str, int]:
    """Row name -> its place when the table is sorted by a column; 0 is the name."""
    rows = re.findall(r'<div class="line" role="row" style="([^"]*)"><span role="cell" title="([^"]*)"', html)
    return {name: int(re.search(rf"--p{column}:(\d+);", style)[1]) for style, name in rows}  # type: ignore[index]


def table(labels: list[str], **columns: list[float | None]) -> str:
    figures = [Column(name, values, [str(value) for value in values]) for name, values in columns.items()]
    return class_table("class", labels, figures)


def test_each_column_has_its_order() -> None:
    images = Column("images", [5, 9, 7, 7], ["5", "9", "7", "7"], descending=True)
    html = class_table("class", ["b", "A", "d", "c"], [Column("F1", [0.5, None, 0.1, 0.5], ["x"] * 4), images])
    assert places(html, 1) == {"d": 0, "b": 1, "c": 2, "A": 3}  # equal values as they come, undefined ones last
    assert places(html, 2) == {"A": 0, "d": 1, "c": 2, "b": 3}
    assert places(html, 0) == {"A": 0, "b": 1, "c": 2, "d": 3}
    assert list(places(html, 1)) == ["d", "b", "c", "A"]  # without style sheets, too
    radios = re.findall(r'<input type="radio" name="by-class" id="by-class-(\d)"( checked)?', html)
    assert radios == [("0", ""), ("1", " checked"), ("2", "")]
    assert html.index('type="checkbox"') < html.index('class="lines"')  # CSS selects what comes after
    assert "<details" not in html


def test_many_classes_are_folded() -> None:
    labels = [f"c{i}" for i in range(OPEN + 180)]
    html = table(labels, F1=[i / 200 for i in range(200)])
    visible, folded = html.split("<details>")
    assert re.findall(r'title="(c\d+)"', visible) == labels[:SHOWN]
    assert len(places(folded, 1)) == 200
    assert "All 200" in folded
    small = table(labels[:OPEN], F1=[0.5] * OPEN)
    assert "<details" not in small


def test_a_page_of_thousands_says_what_it_leaves_out() -> None:
    count = LARGEST + 5
    html = table([f"c{i}" for i in range(count)], F1=[-float(i) for i in range(count)])
    assert len(places(html, 1)) == LARGEST
    assert f"The first {LARGEST} of {count}" in html
    assert f"c{count - 1}" in places(html, 1)


EVIL = "</span><script>alert(1)</script>"


def test_a_report_of_200_classes() -> None:
    labels = (EVIL, *(f"bird {i}" for i in range(1, 200)))
    rows = tuple(ClassMetrics(label, 0.5, 0.5, (i * 7 % 200) / 200, 3) for i, label in enumerate(labels))
    confusion = tuple(tuple(row) for row in np.eye(200, dtype=int).tolist())
    metrics = ClassificationMetrics(0.5, 0.8, 1.0, 0.1, 200, rows, confusion, ((0.5, 0.5, 200),))
    page = render_report(Report(title="birds", sections=[classification_section(metrics, labels, [], [])]))
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "script-src" not in page
    assert "All 200" in page
    assert len(page) < 400_000


def test_every_column_of_the_page_has_a_rule() -> None:
    """The style sheet lays out rows by the places 0 to 7; a table has the name and up to seven figures."""
    page = render_report(Report(title="x"))
    rules = re.findall(r"nth-of-type\((\d)\):checked ~ \.lines \.line \{ order: var\(--p(\d)\)", page)
    assert rules == [(str(n + 1), str(n)) for n in range(8)]


def test_detection_uses_it() -> None:
    rows = tuple(ClassAP(f"c{i}", i / 30, i / 30, 10 + i, ()) for i in range(30))
    metrics = DetectionMetrics(0.5, 0.6, 0.5, -1.0, 0.4, 0.6, 0.5, 100, 300, rows)
    html = detection_section(metrics, tuple(row.label for row in rows), [], np.zeros((31, 31), int).tolist())
    assert places(html, 1)["c0"] == 0
    assert places(html, 3)["c29"] == 0
    assert html.count("<details>") == 1


@pytest.mark.parametrize("value", [None, float("nan")])
def test_undefined_values_do_not_break_an_order(value: float | None) -> None:
    html = table(["a", "b", "c"], F1=[0.2, value, 0.1])
    assert places(html, 1) == {"c": 0, "a": 1, "b": 2}
