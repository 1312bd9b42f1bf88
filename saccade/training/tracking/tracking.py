"""Send the events of a run to experiment trackers, listed in `tracking.to` of its config; none by default."""

import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saccade.checkpoints.atomic import write_atomic
from saccade.checkpoints.reading import read_json
from saccade.errors import ConfigError
from saccade.training.config import RunConfig, flat_values
from saccade.training.events import EpochDone, Event, Note, RunEnded, RunStarted, StepDone
from saccade.training.tracking.mlflow import MLflowTracker
from saccade.training.tracking.tensorboard import TensorBoardTracker
from saccade.training.tracking.tracker import TrackedRun, Tracker
from saccade.training.tracking.trackio import TrackioTracker
from saccade.training.tracking.wandb import WandbTracker

TRACKERS: Mapping[str, Any] = {
    "tensorboard": TensorBoardTracker,
    "mlflow": MLflowTracker,
    "wandb": WandbTracker,
    "trackio": TrackioTracker,
}
IDENTITIES = "tracking.json"  # in the run directory: tracker -> by which it finds the run again
Watcher = Callable[[Event], None]


def require_trackers(config: RunConfig) -> None:
    """Raise ConfigError if the package of a tracker is missing, before anything is written."""
    for name in config.tracking.to:
        if importlib.util.find_spec(TRACKERS[name].package) is None:
            raise ConfigError(f"tracking.to: {name} needs one more package: pip install {TRACKERS[name].package}")


@contextmanager
def tracked(config: RunConfig, folder: Path, notify: Watcher) -> Iterator[Watcher]:
    """An observer that passes events to `notify` and to the trackers of the config, which are closed at the end.

    A tracker that fails, for example because its server is unreachable, is dropped with a warning, and the run
    continues.

    Args:
        config: of the run.
        folder: the run directory.
        notify: further observer.

    Raises:
        ConfigError: a tracker cannot be opened.
    """
    if not config.tracking.to:
        yield notify
        return
    session = Session(config, folder, notify)
    try:
        yield session
    finally:
        session.close()


class Session:
    """The trackers of one run, from its first event to its last."""

    def __init__(self, config: RunConfig, folder: Path, notify: Watcher):
        self.config, self.folder, self.notify = config, folder, notify
        self.trackers: dict[str, Tracker] = {}
        self.finished = False

    def __call__(self, event: Event) -> None:
        self.notify(event)
        match event:
            case RunStarted():
                self.open(event.start_step)
            case StepDone() if event.step % self.config.tracking.every == 0:
                values = {"loss": event.loss, "lr": event.lr, "images_per_second": event.images_per_second}
                self.log({f"step/{name}": v for name, v in {**values, **event.metrics}.items()}, event.step)
            case EpochDone():
                hidden = ("step", "lr", "images_per_second")
                values = {name: float(v) for name, v in event.row.items() if name not in hidden and is_number(v)}
                self.log({f"epoch/{name}": value for name, value in values.items()}, event.row["step"])
            case RunEnded():
                self.finished = True
                self.log({f"{event.split}/{name}": value for name, value in event.metrics.items()}, event.step)
                card = str((self.folder / "model" / "README.md").resolve())
                self.each(lambda tracker: tracker.describe({"model card": card}))

    def open(self, step: int) -> None:
        """Open every tracker, with its earlier run if this one is resumed."""
        path = self.folder / IDENTITIES
        identities = read_json(path) if path.is_file() else {}
        for name in self.config.tracking.to:
            run = TrackedRun(
                project=self.config.tracking.project,
                name=self.folder.name,
                config=flat_values(self.config),
                folder=self.folder,
                identity=identities.get(name, ""),
                step=step,
            )
            try:
                self.trackers[name] = TRACKERS[name](run)
            except ModuleNotFoundError:
                package = TRACKERS[name].package
                raise ConfigError(f"tracking.to: {name} needs one more package: pip install {package}") from None
        identities |= {name: tracker.identity for name, tracker in self.trackers.items()}
        write_atomic(path, json.dumps(identities).encode())

    def log(self, values: Mapping[str, float], step: int) -> None:
        numbers = {name: value for name, value in values.items() if math.isfinite(value)}
        self.each(lambda tracker: tracker.log(numbers, step))

    def each(self, call: Callable[[Tracker], None]) -> None:
        """Call every tracker; one that fails is not called again."""
        for name, tracker in list(self.trackers.items()):
            try:
                call(tracker)
            except tracker.errors as error:
                del self.trackers[name]
                text = " ".join(str(error).split())
                self.notify(Note(f"{name} failed, and the run continues without it: {text}", warning=True))

    def close(self) -> None:
        self.each(lambda tracker: tracker.close(finished=self.finished))


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
