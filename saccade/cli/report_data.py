"""From a run's folder to its report: loads the model once more and looks inside it."""

import json
import logging
from pathlib import Path

import torch

from saccade.analysis.attention_distance import AttentionDistance, attention_distance
from saccade.analysis.attention_maps import Explanation, explain
from saccade.analysis.patch_filters import patch_filters
from saccade.analysis.position_similarity import position_similarity
from saccade.checkpoints.atomic import write_atomic
from saccade.data.folder import open_data
from saccade.data.samples import ImageSource
from saccade.errors import RecordingError
from saccade.inference.predictor import Predictor, load
from saccade.nn.recording import record
from saccade.reporting.model_card import model_card
from saccade.reporting.report import Mistake, ReportData, render_report
from saccade.tasks.predictions import ClassificationMetrics
from saccade.training.run_directory import RunDirectory

MISTAKES, EXAMPLES, DISTANCE_IMAGES = 12, 4, 16
BUDGET = "1 GiB"  # of one picture's attention
log = logging.getLogger("saccade")


def write_run_report(run: RunDirectory) -> Path:
    """Write `report.html` and the model card of a finished run."""
    predictor = load(run.model)
    provenance = predictor.source.provenance
    config = run.config()
    splits = open_data(config.data.path, config.data)
    metrics, split, mistakes, examples = None, "test", [], []
    path = run.path / "predictions.json"
    if path.is_file():
        told = json.loads(path.read_text(encoding="utf-8"))
        metrics, split = ClassificationMetrics.from_dict(told["metrics"]), told["split"]
        source = splits.test if split == "test" else splits.val
        assert source is not None
        mistakes, examples = _pictures(predictor, source, told["predictions"])
    data = ReportData(
        title=f"{config.model.name} on {splits.name}",
        summary={
            "training": f"{provenance['seconds']:.0f} s",
            "images": f"{len(splits.train):,}",
            "parameters": f"{sum(p.numel() for p in predictor.model.parameters()):,}",
        },
        rows=run.metrics(),
        split=split,
        metrics=metrics,
        labels=predictor.labels,
        examples=examples,
        mistakes=mistakes,
        similarity=position_similarity(predictor.model),
        filters=patch_filters(predictor.model),
        distance=_distance(predictor, splits.test or splits.val or splits.train),
        time_shares=provenance["time_shares"],
        config=config.to_yaml(),
        environment=run.environment(),
        command=f"saccade train --config {run.path / 'config.yaml'}",
    )
    write_atomic(run.report, render_report(data).encode())
    card = model_card(
        name=run.path.name,
        architecture=predictor.source.architecture,
        labels=predictor.labels,
        provenance=provenance,
        preprocessing=predictor.preprocess.describe(),
        metrics=metrics,
    )
    write_atomic(run.model / "README.md", card.encode())
    return run.report


def _pictures(
    predictor: Predictor, source: ImageSource, predictions: list[dict]
) -> tuple[list[Mistake], list[Explanation]]:
    """The most confident mistakes, and right answers of as many different classes."""
    place = {name: index for index, name in enumerate(source.names)}
    wrong = sorted((p for p in predictions if p["label"] != p["truth"]), key=lambda p: -p["score"])[:MISTAKES]
    right = list({p["label"]: p for p in predictions if p["label"] == p["truth"]}.values())[:EXAMPLES]

    def look(prediction: dict) -> Explanation:
        picture = source.image(place[prediction["image"]])
        found = explain(predictor, picture, budget=BUDGET)
        return Explanation(**{**vars(found), "name": prediction["image"]})

    try:
        return [Mistake(p["truth"], look(p)) for p in wrong], [look(p) for p in right]
    except RecordingError as error:
        log.warning("the report shows no attention: %s", error)
        return [], []


@torch.no_grad()
def _distance(predictor: Predictor, source: ImageSource) -> AttentionDistance | None:
    """How far each head looks, over some images."""
    step = max(1, len(source) // DISTANCE_IMAGES)
    pictures = [source.image(i) for i in range(0, len(source), step)[:DISTANCE_IMAGES]]
    images = torch.stack([predictor.prepare(picture) for picture in pictures]).to(predictor.device)
    try:
        with record(predictor.model, budget=BUDGET, tokens=False) as trace:
            predictor.model(images)
    except RecordingError as error:
        log.warning("the report shows no attention distance: %s", error)
        return None
    return None if trace.layout is None else attention_distance(trace.attention, trace.layout)
