"""The runs of a study as a table: a row for each run."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from saccade.lab.grid import Job
from saccade.lab.jobs import JobResult
from saccade.lab.study import Study

COLUMNS = ("params", "inputs", "flops", "stage_flops", "seconds", "cpu_seconds", "stage_cpu_seconds")


def run_rows(study: Study, pairs: Sequence[tuple[Job, JobResult]]) -> list[dict[str, Any]]:
    """A row for each run: its axes, costs, metrics and measures; NAME_1, NAME_2, … for a number by layer."""
    rows = []
    for job, result in pairs:
        row: dict[str, Any] = {"job": job.id, **job.levels, "seed": job.seed}
        row |= {name: getattr(result, name) for name in COLUMNS} | {"split": result.split} | result.metrics
        for values in result.measures.values():
            for name, value in values.items():
                layers = value if isinstance(value, list) else None
                row |= {name: value} if layers is None else {f"{name}_{i}": v for i, v in enumerate(layers, 1)}
        for panel in study.config.report:
            value = result.values.get(panel.metric)
            if panel.as_error and isinstance(value, int | float):
                row[f"error (1 - {panel.metric})"] = 1 - value
        rows.append(row)
    return rows


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows with a header; empty where a run has no such number."""
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
