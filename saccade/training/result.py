"""What a finished run leaves behind besides its weights."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from saccade.tasks.classification import ClassificationTask
from saccade.tasks.collect import Collected
from saccade.tasks.predictions import ClassificationMetrics
from saccade.training.config import RunConfig
from saccade.training.run_directory import Progress
from saccade.training.setup import Setup


def predictions(
    task: ClassificationTask, split: str, collected: Collected, metrics: ClassificationMetrics
) -> dict[str, Any]:
    """The content of `predictions.json`: the metrics of a split, and each prediction beside the truth."""
    decoded = task.decode(collected.outputs, collected.names, top=5)
    rows = [{**p.to_dict(), "truth": task.labels[t]} for p, t in zip(decoded, collected.targets.tolist())]
    return {"split": split, "metrics": metrics.to_dict(), "predictions": rows}


def summary(split: str, metrics: ClassificationMetrics) -> dict[str, Any]:
    """The result in three numbers, for the model directory."""
    return {"split": split, "accuracy": metrics.accuracy, "images": metrics.images}


def provenance(config: RunConfig, setup: Setup, progress: Progress, *, environment: dict[str, Any]) -> dict[str, Any]:
    """Where the weights come from; goes into the model directory."""
    splits = setup.splits
    counts = {name: len(part) for name in ("train", "val", "test") if (part := getattr(splits, name)) is not None}
    return {
        "data": {
            "name": splits.name,
            "path": config.data.path,
            "fingerprint": splits.fingerprint,
            "images": counts,
            "config": asdict(config.data),
        },
        "init": setup.start.provenance if config.model.init else None,
        "recipe": config.recipe,
        "seed": config.seed,
        "steps": progress.step,
        "chosen_step": progress.best_step or progress.step,
        "seconds": round(progress.seconds, 1),
        "time_shares": {name: round(value, 2) for name, value in progress.shares.items()},
        "environment": environment,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
