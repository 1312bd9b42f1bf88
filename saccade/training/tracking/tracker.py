"""What an experiment tracker is to a run: a place for numbers by step, opened with the run's config."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker shows it.

    Attributes:
        project: that it is listed under.
        name: of the run.
        config: by dotted names, plain values.
        folder: the run directory.
        identity: by which the tracker finds the run again that is resumed; "" for a new one.
        step: that it goes on from; 0 for a new one.
    """

    project: str
    name: str
    config: Mapping[str, Any]
    folder: Path
    identity: str
    step: int


class Tracker(Protocol):
    """An adapter of one tracker. It is opened by its constructor, which takes a :class:`TrackedRun`."""

    package: ClassVar[str]  # that it needs
    identity: str  # by which the run is found again
    errors: tuple[type[Exception], ...]  # of its library, which end the tracking and not the run

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of a step."""
        ...

    def describe(self, texts: Mapping[str, str]) -> None:
        """Texts of the run, such as where its model card is."""
        ...

    def close(self, *, finished: bool) -> None:
        """End the run; one that was stopped or failed is not finished."""
        ...
