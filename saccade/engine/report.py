"""What a task shows of itself: its section in the report of a run, and the picture of `saccade explain`."""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from saccade.data.samples import DataSplits
from saccade.engine.predictor import ImageLike, Predictor
from saccade.engine.reading import Reading
from saccade.engine.results import Metrics
from saccade.errors import ConfigError

BUDGET = "1 GiB"  # of the attention of one picture in a report
NO_TEXT = "a text beside the image (--text) is for models of images and texts, such as a CLIP"


@dataclass(frozen=True)
class ReportSection:
    """A task's part of a report.

    Attributes:
        metrics: of the split that was measured.
        tiles: the metrics at the top of the page, name -> value.
        html: the section with the results.
    """

    metrics: Metrics
    tiles: Mapping[str, str]
    html: str


@dataclass(frozen=True)
class Drawing:
    """A matplotlib figure, and lines of text about the inputs in it."""

    figure: Any
    lines: Sequence[str]

    def _repr_png_(self) -> bytes:
        """How a notebook displays it."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()


class Study(Protocol):
    """A table of measurements."""

    def __str__(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


class TaskReport(ABC):
    """A task's pictures. Loaded only where something is drawn."""

    @abstractmethod
    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        """The results of a run.

        Args:
            predictor: the trained model.
            splits: the data of the run.
            predictions: the content of the run's `predictions.json`.
        """

    def explain(
        self, predictor: Predictor, inputs: Sequence[ImageLike], *, budget: str, score: bool = False
    ) -> Drawing:
        """A picture of what the model attends to, one row an input.

        Args:
            predictor: the model.
            inputs: images or texts.
            budget: memory that the attention of one may take.
            score: also measure how far the map can be believed, where the model gives an image one class.

        Raises:
            ConfigError: there is no such picture for this task; the message says what can be done instead.
            RecordingError: the attention is larger than the budget.
        """
        raise ConfigError(
            f"explain has no picture of a whole image for the task {predictor.task.name}: choose a point of the image "
            "(--point 0.5 0.5), or record the attention in Python with saccade.record"
        )

    def reading(self, predictor: Predictor, value: ImageLike, text: str | None = None) -> Reading | None:
        """One input with the words of its tokens, for maps between words; None for a task that reads images alone.

        Args:
            predictor: the model.
            value: an image, or a text where the model reads texts.
            text: beside the image, for a model of both; None for maps of the image alone.

        Raises:
            ConfigError: a text for a model that reads none.
        """
        refuse_text(text)
        return None

    def classifier(self, predictor: Predictor, texts: Sequence[str]) -> Predictor:
        """A model of images and texts as a classifier whose classes are the texts, for maps of a class.

        Raises:
            ConfigError: the model reads no texts beside images.
        """
        raise ConfigError(NO_TEXT)

    def stages(
        self,
        predictor: Predictor,
        data: str,
        *,
        split: str,
        batch_size: int,
        workers: int | None,
        on_inputs: Callable[[int, int], None] | None,
    ) -> Study:
        """Metrics after each stage of a model that predicts in several stages; arguments as for
        :func:`saccade.engine.evaluation.evaluate`.

        Raises:
            ConfigError: models of this task have no stages.
        """
        raise ConfigError(f"--stages measures detectors stage by stage; models for {predictor.task.name} have none")


def refuse_text(text: str | None) -> None:
    """Raise ConfigError where there is a text beside the input of a model that reads one input."""
    if text is not None:
        raise ConfigError(NO_TEXT)
