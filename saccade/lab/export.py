"""The runs of a study as a table: a row for each run."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saccade.checkpoints.atomic import write_atomic
from saccade.errors import ConfigError
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


def write_parquet(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The rows as a Parquet file; a column with numbers and texts is one of texts.

    Raises:
        ConfigError: pyarrow is missing.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ConfigError("Parquet is written by pyarrow: pip install 'saccade[arrow]'") from None
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _one_kind([row.get(name) for row in rows]) for name in names}
    write_atomic(path, lambda temporary: parquet.write_table(pa.table(columns), temporary))


def _one_kind(values: Sequence[Any]) -> list[Any]:
    """Values that are all numbers, or all texts; None stays."""
    numbers = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)
    if not numbers:
        return [None if value is None else str(value) for value in values]
    floats = any(isinstance(value, float) for value in values)
    return [None if value is None else float(value) if floats else value for value in values]
