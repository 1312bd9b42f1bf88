"""What a finished run leaves behind besides its weights."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from saccade.tasks.collect import Collected
from saccade.tasks.task import Metrics, Task
from saccade.training.config import RunConfig
from saccade.training.run_directory import Progress
from saccade.training.setup import Setup


def predictions(task: Task, split: str, collected: Collected, metrics: Metrics) -> dict[str, Any]:
    """The content of `predictions.json`: the metrics of a split, and each prediction beside the truth."""
    decoded = task.decode(collected.outputs, collected.names, top=5)
    rows = [{**p.to_dict(), "truth": task.truth(t)} for p, t in zip(decoded, collected.targets)]
    return {"split": split, "metrics": metrics.to_dict(), "predictions": rows}


def summary(split: str, metrics: Metrics) -> dict[str, Any]:
    """The result in a few numbers, for the model directory."""
    return {"split": split, **metrics.row(), "images": metrics.images}


def provenance(config: RunConfig, setup: Setup, progress: Progress, *, environment: dict[str, Any]) -> dict[str, Any]:
    """Where the weights come from; goes into the model directory."""
    splits = setup.job.splits
    counts = {name: len(part) for name in ("train", "val", "test") if (part := getattr(splits, name)) is not None}
    return {
        "data": {
            "name": splits.name,
            "path": config.data.path,
            "fingerprint": splits.fingerprint,
            "images": counts,
            "config": asdict(config.data),
        },
        **({"depth": asdict(config.depth)} if config.task == "depth" else {}),
        **({"words": asdict(config.words)} if config.task == "words" else {}),
        "init": setup.job.start.provenance if config.model.init else None,
        "recipe": config.recipe,
        "seed": config.seed,
        "steps": progress.step,
        "chosen_step": progress.best_step or progress.step,
        "seconds": round(progress.seconds, 1),
        "time_shares": {name: round(value, 2) for name, value in progress.shares.items()},
        "environment": environment,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
