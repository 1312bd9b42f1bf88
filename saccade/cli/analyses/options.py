"""Options that analyses share, and output of results as text, plot, JSON and CSV."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.cli.terminal import show
from saccade.errors import ConfigError
from saccade.json_io import dump_json

if TYPE_CHECKING:
    from saccade.analysis.inputs import ImageBatches
    from saccade.analysis.result import AnalysisResult
    from saccade.engine.predictor import Predictor
    from saccade.engine.reading import Reading

POINT = (
    "Two fractions of width and height from the upper left corner, such as 0.5 0.25; or column and row of a pixel, "
    "such as 120 64. Selects the patch whose attention is shown, or the depth, class or box at this point as the "
    "output to explain."
)
TEXTS = "For a model of images and texts: the texts that are the classes of the images; repeat the option for each."
Texts = Annotated[list[str] | None, Parameter(negative="", help=TEXTS)]
SUFFIXES = (".png", ".svg", ".pdf", ".jpg")


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """How the model is opened."""

    image_size: int | None = None
    """Side in pixels, instead of the model's own; positions are resampled."""
    device: str = "cpu"
    """Such as cpu, cuda or auto."""

    def load(self, model: str) -> "Predictor":
        from saccade.tasks.loading import load

        return load(model, image_size=self.image_size, device=self.device)


@Parameter(name="*")
@dataclass(frozen=True)
class PlaceOptions:
    """Which output or token of an image is explained."""

    query: int | None = None
    """Index of an object query, or location, of a detector."""
    point: Annotated[tuple[float, float] | None, Parameter(negative="", help=POINT)] = None
    text: Annotated[list[str] | None, Parameter(negative="")] = None
    """For a model of images and texts: the text whose similarity to the image is explained. If it is repeated, the
    texts are the classes of the image (--class selects one)."""

    def read(self, predictor: "Predictor", value: str) -> "Reading | None":
        """The input with its words, for maps between words; None for maps over an image."""
        from saccade.tasks import table

        if self.alone:
            return None
        text = self.text[0] if self.text else None
        return table.report(predictor.task.name).reading(predictor, value, text)

    def classifier(self, predictor: "Predictor", method: str) -> "Predictor":
        """The model; if a map of images needs classes, a classifier whose classes are the texts."""
        from saccade.analysis.token_maps import TOKEN_METHODS
        from saccade.tasks import table

        if self.alone or not self.text or (len(self.text) == 1 and method in TOKEN_METHODS):
            return predictor
        return table.report(predictor.task.name).classifier(predictor, self.text)

    @property
    def alone(self) -> bool:
        """Whether a query or a point of the image is explained."""
        if (self.query, self.point) == (None, None):
            return False
        if self.text:
            raise ConfigError("choose --text, or a query or point of the image alone")
        return True


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """Which images are analysed."""

    split: str = "auto"
    """auto, train, val, test or all of a data set; auto is the test split if the model was not trained on it, otherwise
    all images."""
    images: int | None = None
    """Maximum number of images, evenly spaced (default: all)."""
    batch_size: int = 16
    """Images per batch."""
    workers: int | None = None
    """Processes that load images."""

    def open(self, predictor: "Predictor", data: str, *, texts: bool = False) -> "ImageBatches":
        from saccade.analysis.inputs import open_images

        return open_images(
            predictor, data, split=self.split, limit=self.images, batch_size=self.batch_size, workers=self.workers,
            texts=texts,
        )  # fmt: skip


@Parameter(name="*")
@dataclass(frozen=True)
class OutputOptions:
    """Where the result goes."""

    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None
    """File of the plot (.png, .svg, .pdf or .jpg), or a folder for plot, JSON and CSV. NAME.png in
    the current folder by default; nothing is drawn with --json or --csv alone."""
    as_json: Json = False
    as_csv: Annotated[bool, Parameter(name="--csv", negative="", help="Print CSV instead of text.")] = False

    def check(self) -> None:
        """Raise an error for an output that cannot be written, before anything is computed."""
        if self.as_json and self.as_csv:
            raise ConfigError("choose --json or --csv; a folder as --output receives both")
        if self.output is None:
            return
        if self.output.suffix and self.output.suffix.lower() not in SUFFIXES and not self.output.is_dir():
            raise ConfigError(f"--output must be a folder or end in {', '.join(SUFFIXES)}, not {self.output.name!r}")
        if self.output.suffix and not self.output.parent.is_dir():
            raise ConfigError(f"--output: there is no folder {self.output.parent}")

    def deliver(self, name: str, result: "AnalysisResult", draw: Callable[[], Any]) -> None:
        """Print the result, and write the files of --output.

        Args:
            name: name of the analysis and of its files.
            result: the numbers.
            draw: function that returns the matplotlib figure.
        """
        from saccade.checkpoints.atomic import write_atomic

        lines = []
        output = self.output
        if output is None and not (self.as_json or self.as_csv):
            output = Path(f"{name}.png")
        if output is not None:
            picture = output
            if not output.suffix or output.is_dir():
                output.mkdir(parents=True, exist_ok=True)
                picture = output / f"{name}.png"
                write_atomic(output / f"{name}.json", to_json(result).encode())
                write_atomic(output / f"{name}.csv", to_csv(result).encode())
                lines.append(f"numbers in {output / name}.json and .csv")
            figure = draw()
            write_atomic(picture, lambda path: figure.savefig(path, format=picture.suffix[1:].lower()))
            lines.insert(0, f"drawn in {picture}")
        if self.as_json:
            print(to_json(result), end="")
        elif self.as_csv:
            print(to_csv(result), end="")
        else:
            show(result, *lines)


def to_json(result: "AnalysisResult") -> str:
    return dump_json(result.to_dict()) + "\n"


def to_csv(result: "AnalysisResult") -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows(result.rows())
    return buffer.getvalue()


def reader(predictor: "Predictor", texts: list[str] | None) -> "Predictor":
    """The model; a model of images and texts becomes a classifier whose classes are the texts."""
    from saccade.tasks import table

    return table.report(predictor.task.name).classifier(predictor, texts) if texts else predictor
