"""Runs in Weights & Biases; with WANDB_MODE=offline in the run directory, for `wandb sync` later."""

from collections.abc import Mapping
from typing import ClassVar

from saccade.training.tracking.tracker import TrackedRun


class WandbTracker:
    package: ClassVar[str] = "wandb"

    def __init__(self, run: TrackedRun):
        try:
            import wandb
        except ImportError as error:
            raise ModuleNotFoundError("wandb") from error
        self.errors: tuple[type[Exception], ...] = (wandb.Error, OSError)
        self.run = wandb.init(
            project=run.project, name=run.name, id=run.identity or None, resume="allow" if run.identity else None,
            dir=str(run.folder), config=dict(run.config), reinit="create_new",
        )  # fmt: skip
        self.identity = self.run.id

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def describe(self, texts: Mapping[str, str]) -> None:
        self.run.summary.update(dict(texts))

    def close(self, *, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)
