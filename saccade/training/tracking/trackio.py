"""Runs in trackio: a database on this machine (TRACKIO_DIR), for `trackio show`."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from typing import ClassVar
from uuid import uuid4

from saccade.training.tracking.tracker import TrackedRun


class TrackioTracker:
    package: ClassVar[str] = "trackio"

    def __init__(self, run: TrackedRun):
        trackio = import_module("trackio")  # no extra of Saccade's, so that no type checker knows it
        self.errors: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError)
        # A run is found again by its name alone, of which another folder's run may have the same.
        self.identity = run.identity or f"{run.name}-{uuid4().hex[:6]}"
        with redirect_stdout(sys.stderr):  # where it announces itself
            self.run = trackio.init(
                project=run.project, name=self.identity, config=dict(run.config),
                resume="allow" if run.identity else "never", embed=False, auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def describe(self, texts: Mapping[str, str]) -> None:
        self.run.log(dict(texts))

    def close(self, *, finished: bool) -> None:
        with redirect_stdout(sys.stderr):
            self.run.finish()
