"""Results of a finished run in addition to its weights."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from saccade.engine.collect import Collected
from saccade.engine.results import Metrics
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.training.config import RunConfig
from saccade.training.run_directory import Progress, RunDirectory


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run: its directory.
        metrics: metrics of the test split, otherwise of the validation split; None if the data has neither, or the run
            was stopped.
        split: the measured split.
        seconds: seconds of training.
        phase_seconds: seconds by phase.
        stopped_by: the number of the signal; 0 for a run that reached its end.
        is_first: whether this is the first of several processes, the one that writes files.
        cpu_seconds: processor time of training, over all threads and loader processes of this process.
        memory: peak bytes of this process, see :func:`saccade.training.resources.peak_memory`.
        predicted_memory: the prediction before the run; None if unknown.
        data_wait: fraction of the training time in which the steps waited for data.
    """

    run: RunDirectory
    metrics: Metrics | None
    split: str
    seconds: float
    phase_seconds: dict[str, float] = field(default_factory=dict)
    stopped_by: int = 0
    is_first: bool = True
    cpu_seconds: float = 0.0
    memory: int = 0
    predicted_memory: int | None = None
    data_wait: float = 0.0

    @property
    def finished(self) -> bool:
        return not self.stopped_by


def predictions(task: Task, split: str, collected: Collected, metrics: Metrics) -> dict[str, Any]:
    """The content of `predictions.json`: the metrics of a split, and each prediction with its target."""
    return {"split": split, "metrics": metrics.to_dict(), "predictions": task.rows(collected)}


def summary(split: str, metrics: Metrics) -> dict[str, Any]:
    """Summary of the result, for the model directory."""
    return {"split": split, **metrics.scalars(), "images": metrics.count}


def provenance(
    config: RunConfig, setup: TrainingSetup, progress: Progress, *, environment: dict[str, Any], memory: int
) -> dict[str, Any]:
    """Origin of the weights, for the model directory."""
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
        "data_wait": round(progress.data_wait / max(progress.seconds, 1e-9), 4),
        "peak_memory": memory,
        "environment": environment,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
