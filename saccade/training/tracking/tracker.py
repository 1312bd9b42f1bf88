"""The contract of an experiment tracker: it receives metrics by step and is opened with the run's config."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True)
class TrackedRun:
    """Description of a run for a tracker.

    Attributes:
        project: project of the run.
        name: name of the run.
        config: config of the run, plain values by dotted names.
        folder: the run directory.
        identity: id of a resumed run in the tracker; "" for a new run.
        step: step from which it continues; 0 for a new run.
    """

    project: str
    name: str
    config: Mapping[str, Any]
    folder: Path
    identity: str
    step: int


class Tracker(Protocol):
    """An adapter of one tracker, opened by its constructor, which takes a :class:`TrackedRun`."""

    package: ClassVar[str]  # that it needs
    identity: str  # by which the run is found again
    errors: tuple[type[Exception], ...]  # of its library, which end the tracking and not the run

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the metrics of a step."""
        ...

    def describe(self, texts: Mapping[str, str]) -> None:
        """Log texts about the run, such as the path of its model card."""
        ...

    def close(self, *, finished: bool) -> None:
        """End the run; a stopped or failed run is not marked as finished."""
        ...
