"""Open a model for a command, and say on stderr what was made of another project's file."""

import sys
from pathlib import Path

from saccade.inference.predictor import Predictor, load


def open_predictor(model: str | Path, image_size: int | None, device: str) -> Predictor:
    """The predictor; the report of what was loaded, resized, new and unused goes to stderr."""
    predictor = load(model, image_size=image_size, device=device)
    report = predictor.source.report
    if report.format != "saccade" or report.resized or report.new:
        print(report, file=sys.stderr)
    return predictor
