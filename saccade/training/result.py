"""What a finished run leaves behind besides its weights."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from saccade.engine.collect import Collected
from saccade.engine.results import Metrics
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.training.config import RunConfig
from saccade.training.run_directory import Progress


def predictions(task: Task, split: str, collected: Collected, metrics: Metrics) -> dict[str, Any]:
    """The content of `predictions.json`: the metrics of a split, and each prediction beside its target."""
    return {"split": split, "metrics": metrics.to_dict(), "predictions": task.rows(collected)}


def summary(split: str, metrics: Metrics) -> dict[str, Any]:
    """The result in a few numbers, for the model directory."""
    return {"split": split, **metrics.scalars(), "images": metrics.count}


def provenance(
    config: RunConfig, setup: TrainingSetup, progress: Progress, *, environment: dict[str, Any]
) -> dict[str, Any]:
    """Where the weights come from; goes into the model directory."""
    datasets = {"train": setup.train, "val": setup.val, "test": setup.test}
    counts = {name: len(dataset.source) for name, dataset in datasets.items() if dataset is not None}
    counts["train"] = config.data.train_size or counts["train"]
    return {
        "data": {
            "name": setup.data_name,
            "path": config.data.path,
            "fingerprint": setup.fingerprint,
            "images": counts,
            "config": asdict(config.data),
        },
        "options": None if config.options is None else asdict(config.options),
        "init": setup.start.provenance if config.model.init else None,
        "recipe": config.recipe,
        "seed": config.seed,
        "steps": progress.step,
        "chosen_step": progress.best_step or progress.step,
        "seconds": round(progress.seconds, 1),
        "time_shares": {name: round(value, 2) for name, value in progress.phase_seconds.items()},
        "environment": environment,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
