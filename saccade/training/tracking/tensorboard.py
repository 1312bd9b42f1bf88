"""Runs in TensorBoard: event files in the run directory, for `tensorboard --logdir runs`."""

from collections.abc import Mapping
from typing import ClassVar

import yaml

from saccade.training.tracking.tracker import TrackedRun


class TensorBoardTracker:
    package: ClassVar[str] = "tensorboard"

    def __init__(self, run: TrackedRun):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ModuleNotFoundError("tensorboard") from error
        # Points after the step that a resumed run goes on from are those of steps that are taken again.
        self.writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.step + 1 if run.identity else None)
        self.identity = str(run.folder.name)
        self.errors: tuple[type[Exception], ...] = (OSError, ValueError)
        if not run.identity:
            self.writer.add_text("config", f"```yaml\n{yaml.safe_dump(dict(run.config), sort_keys=False)}```")

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def describe(self, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            self.writer.add_text(name, text)

    def close(self, *, finished: bool) -> None:
        self.writer.close()
