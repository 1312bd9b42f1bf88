"""The contract of a task's report: its section in the report of a run, and the picture of `saccade explain`."""

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
NO_TEXT = "--text is for models of images and texts, such as a CLIP"


@dataclass(frozen=True)
class ReportSection:
    """A task's part of a report.

    Attributes:
        metrics: metrics of the measured split.
        tiles: the metrics at the top of the page, name -> value.
        html: the section with the results.
    """

    metrics: Metrics
    tiles: Mapping[str, str]
    html: str


@dataclass(frozen=True)
class Drawing:
    """A matplotlib figure, and lines of text about its inputs."""

    figure: Any
    lines: Sequence[str]

    def _repr_png_(self) -> bytes:
        """The picture for a notebook."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()


class Study(Protocol):
    """A table of measurements."""

    def __str__(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


class TaskReport(ABC):
    """A task's pictures. Loaded only for drawing."""

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
    ) -> Drawing | None:
        """A picture of what the model attends to, one row per input; None for a task without one of its own.

        Args:
            predictor: the model.
            inputs: images or texts.
            budget: memory that the attention of one input may take.
            score: also measure the reliability of the map, for models that predict one class per image.

        Raises:
            RecordingError: the attention is larger than the budget.
        """
        return None

    def reading(self, predictor: Predictor, value: ImageLike, text: str | None = None) -> Reading | None:
        """One input with the words of its tokens, for maps between words; None for a task of images alone.

        Args:
            predictor: the model.
            value: an image, or a text for a text model.
            text: text in addition to the image, for an image-text model; None for maps of the image alone.

        Raises:
            ConfigError: a text is given for a model without text input.
        """
        refuse_text(text)
        return None

    def classifier(self, predictor: Predictor, texts: Sequence[str]) -> Predictor:
        """A model of images and texts as a classifier whose classes are the texts, for maps of a class.

        Raises:
            ConfigError: the model takes no texts in addition to images.
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
    """Raise ConfigError if a text is given in addition to the input of a model with a single input."""
    if text is not None:
        raise ConfigError(NO_TEXT)
