"""From a run's folder to its report: loads the model once more and looks inside it."""

import json
import logging
from importlib import import_module
from pathlib import Path
from typing import cast

import torch

from saccade.analysis.attention_distance import AttentionDistance, attention_distance
from saccade.analysis.patch_filters import patch_filters
from saccade.analysis.position_similarity import position_similarity
from saccade.checkpoints.atomic import write_atomic
from saccade.cli.reports.content import BUDGET, Content
from saccade.data.samples import ImageSource
from saccade.errors import RecordingError
from saccade.inference.predictor import Predictor, load
from saccade.nn.recording import record
from saccade.reporting.inside import inside_section
from saccade.reporting.model_card import model_card
from saccade.reporting.report import Report, render_report
from saccade.training.run_directory import RunDirectory
from saccade.training.setup import open_splits

DISTANCE_IMAGES = 16
LOOKS = ("classify", "pretrain", "contrast")  # tasks whose attention the report measures
# (split of the metrics, `select` of the run) -> the note above them
NOTES = {
    ("test", "best"): "Measured once on {} {} of the test split, which no choice of this run depends on.",
    ("test", "last"): "Measured once on {} {} of the test split, which no choice of this run depends on.",
    ("val", "best"): "Measured on {} {} of the validation split, which also selected the best weights.",
    ("val", "last"): "Measured on {} {} of the validation split, which no choice of this run depends on.",
}
log = logging.getLogger("saccade")


def write_run_report(run: RunDirectory) -> Path:
    """Write `report.html` and the model card of a finished run."""
    predictor = load(run.model)
    provenance = predictor.source.provenance
    config = run.config()
    splits = open_splits(config)
    path = run.path / "predictions.json"
    content, note = None, ""
    things = "images" if hasattr(splits.train, "image") else "texts"
    if path.is_file():
        told = json.loads(path.read_text(encoding="utf-8"))
        found: Content = import_module(f"saccade.cli.reports.{config.task}").content(predictor, splits, told)
        content, note = found, NOTES[told["split"], config.select].format(found.metrics.images, things)
    shown = splits.test or splits.val or splits.train
    inside = inside_section(
        position_similarity(predictor.model),
        patch_filters(predictor.model),
        _distance(predictor, cast(ImageSource, shown)) if config.task in LOOKS else None,
    )
    run_figures = {
        "training": f"{provenance['seconds']:.0f} s",
        things: f"{len(splits.train):,}",
        "parameters": f"{sum(p.numel() for p in predictor.model.parameters()):,}",
    }
    report = Report(
        title=f"{config.model.name} on {splits.name}",
        note=note,
        tiles={**(content.tiles if content else {}), **run_figures},
        rows=run.metrics(),
        sections=[*([content.section] if content else []), inside],
        time_shares=provenance["time_shares"],
        config=config.to_yaml(),
        environment=run.environment(),
        command=f"saccade train --config {run.path / 'config.yaml'}",
    )
    write_atomic(run.report, render_report(report).encode())
    card = model_card(
        name=run.path.name,
        architecture=predictor.source.architecture,
        labels=predictor.labels,
        provenance=provenance,
        preprocessing=told_inputs(predictor),
        metrics=content.metrics if content else None,
        task=predictor.task,
    )
    write_atomic(run.model / "README.md", card.encode())
    return run.report


def told_inputs(predictor: Predictor) -> str:
    """How a model's inputs are made, for the card."""
    if predictor.source.preprocessing is None:
        return f"texts in {predictor.model.config.vocab_size} words, up to {predictor.model.config.context_length} each"
    return predictor.preprocess.describe()


@torch.no_grad()
def _distance(predictor: Predictor, source: ImageSource) -> AttentionDistance | None:
    """How far each head looks, over some images."""
    step = max(1, len(source) // DISTANCE_IMAGES)
    pictures = [source.image(i) for i in range(0, len(source), step)[:DISTANCE_IMAGES]]
    images = torch.stack([predictor.prepare(picture) for picture in pictures]).to(predictor.device)
    try:
        with record(predictor.model, budget=BUDGET, tokens=False) as trace:
            predictor.model.embed(images)  # of the whole image, also where training hides parts of it
    except RecordingError as error:
        log.warning("the report shows no attention distance: %s", error)
        return None
    return None if trace.layout is None else attention_distance(trace.attention, trace.layout)
