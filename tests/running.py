"""Train without the report, which most tests do not read and which takes as long as their training."""

from collections.abc import Callable
from pathlib import Path

from saccade.tasks import table
from saccade.training.config import RunConfig
from saccade.training.events import Event
from saccade.training.loop import train as run_loop
from saccade.training.result import RunResult
from saccade.training.run_directory import RunDirectory


def train(
    config: RunConfig,
    run: RunDirectory | None = None,
    *,
    output: Path | None = None,
    resume: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> RunResult:
    """The loop with the setup of the config's task."""
    room = table.room(config.task)
    return run_loop(config, room.setup, run, output=output, resume=resume, on_event=on_event)
