"""`saccade predict`: typed results for images or texts, as text, JSON, CSV or pictures."""

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from saccade.cli.batch import JobOptions, run_job
from saccade.cli.options import Json, ModelOptions, WayOptions
from saccade.cli.terminal import one_line, printable
from saccade.errors import ConfigError, ImageError
from saccade.json_io import dump_json

if TYPE_CHECKING:
    from PIL import Image

    from saccade.engine.predictor import Predictor
    from saccade.engine.results import Result
    from saccade.inference.batch_job import Stream
    from saccade.inference.export.runner import ExportedPredictor


@Parameter(name="*")
@dataclass(frozen=True)
class PredictOptions:
    """Options of some tasks; they are errors for the other tasks."""

    top: int | None = None
    """Number of classes to print for each image (default: 5)."""
    threshold: float | None = None
    """Smallest score of a box (default: 0.5) or of a segment (default: 0.85)."""
    panoptic: Annotated[bool, Parameter(negative="")] = False
    """For a detector with masks: predict a panoptic segmentation instead of boxes."""
    stuff: str = ""
    """With --panoptic: classes to leave out, separated by commas; by default COCO's 91 to 249 if the model has them."""

    def given(self) -> dict[str, Any]:
        """The options that are not at their defaults."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}


@Parameter(name="*")
@dataclass(frozen=True)
class OutputOptions(JobOptions):
    """Output of predictions."""

    draw: Path | None = None
    """Folder for pictures with the predictions drawn over them: classes, boxes, depth or classes of every pixel; also
    receives the maps themselves."""
    as_json: Json = False
    as_csv: Annotated[bool, Parameter(name="--csv", negative="", help="Print CSV instead of text.")] = False
    out: Path | None = None
    """A file for the predictions of any number of inputs: .parquet, .csv or .jsonl. A job that is killed continues when
    it is started again; inputs that cannot be read are listed in NAME-errors.csv."""

    def __post_init__(self) -> None:
        if self.as_json and self.as_csv:
            raise ConfigError("choose --json or --csv")
        if self.out is not None and (self.as_json or self.as_csv or self.draw is not None):
            raise ConfigError("--out writes a file: leave out --json, --csv and --draw")
        if self.out is None and (self.shard != "0/1" or self.ray is not None):
            raise ConfigError("--shard and --ray need --out")
        super().__post_init__()


def predict(
    model: str,
    inputs: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    batch_size: int = 16,
    opening: ModelOptions | None = None,
    running: WayOptions | None = None,
    max_pixels: int | None = None,
    options: PredictOptions | None = None,
    output: OutputOptions | None = None,
) -> int:
    """Predict images, or texts with a model that reads texts. Broken images are listed on stderr and skipped, and
    the exit code is 1.

    Parameters
    ----------
    model
        A run, a model directory, a published file, hub:ORG/NAME, or a file of `saccade export`, which needs no torch.
    inputs
        Files, folders (all images below them), patterns such as "photos/*.jpg", tars (all images in them), COCO
        annotation files (the images that they list); or texts.
    batch_size
        Inputs per batch.
    max_pixels
        Largest number of pixels of an image (default: 89 million); a JPEG of up to four times as many is decoded at
        half its resolution.
    """
    output, way = output or OutputOptions(), running or WayOptions()
    task_options = (options or PredictOptions()).given()
    predictor = opened(model, opening or ModelOptions(), task_options, way)
    if max_pixels is not None:
        if max_pixels < 1:
            raise ConfigError(f"--max-pixels must be at least 1, not {max_pixels}")
        predictor.max_pixels = max_pixels
    sources: list[Any] = list(inputs)
    if predictor.reads_images:
        sources = list(dict.fromkeys(path for text in inputs for path in expand(text)))
    elif output.draw is not None:
        raise ConfigError("--draw draws over images, and this model reads texts")
    fast = way.apply(predictor, min(batch_size, len(sources)))
    if output.out is not None:
        described = {"model": predictor.digest(), "batch_size": batch_size, "max_pixels": predictor.max_pixels}
        opening_again = partial(
            open_stream, model, opening or ModelOptions(), task_options, way, predictor.max_pixels,
            min(batch_size, len(sources)),
        )  # fmt: skip
        return run_job(
            "predict", fast.stream, [str(one) for one in sources], output.out, output, batch_size,
            described | asdict(way) | task_options, opening_again,
        )  # fmt: skip
    predictor = fast
    failed = 0

    def report(name: str, error: ImageError) -> None:
        nonlocal failed
        failed += 1
        print(f"saccade: {one_line(error)}", file=sys.stderr)

    results = predictor.stream(sources, batch_size=batch_size, on_error=report)
    if output.draw is not None:
        results = drawn(results, output.draw, predictor.max_pixels, predictor.channels)
    if output.as_json:
        records = [record for result in results for record in result.records()]
        print(dump_json(records))
    elif output.as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for number, result in enumerate(results):
            if not number:
                writer.writerow(result.columns)
            writer.writerows(result.rows())
    else:
        for result in results:
            print(printable(result), flush=True)
    return 1 if failed else 0


def opened(
    model: str, way: ModelOptions, options: dict[str, Any], running: WayOptions
) -> "Predictor | ExportedPredictor":
    """A model, or a file that `saccade export` wrote, which loads no torch."""
    from saccade.inference.export.metadata import is_exported

    if is_exported(model):
        from saccade.inference.export.runner import open_exported
        from saccade.tasks import table

        if way != ModelOptions() or running.merge:
            raise ConfigError("an exported file has a fixed size and labels, and runs on the CPU")
        return open_exported(model, table.decoder, options=options)
    from saccade.tasks.loading import load

    predictor = load(model, image_size=way.image_size, device=way.device, options=options, labels=way.labels)
    return running.merged(predictor)


def open_stream(
    model: str, way: ModelOptions, options: dict[str, Any], running: WayOptions, max_pixels: int, batch_size: int
) -> "Stream":
    """The predictor, in its own process."""
    predictor = opened(model, way, options, running)
    predictor.max_pixels = max_pixels
    return running.apply(predictor, batch_size).stream


def drawn(results: Iterable["Result"], folder: Path, max_pixels: int, channels: int) -> Iterator["Result"]:
    """Draw each result on its image as it is yielded, and write its data files next to it."""
    import numpy as np

    from saccade.checkpoints.atomic import write_atomic
    from saccade.reporting.draw import to_png

    folder.mkdir(parents=True, exist_ok=True)
    used: set[str] = set()
    for result in results:
        stem = Path(result.name).stem
        name = next(n for n in (stem, *(f"{stem}-{i}" for i in range(2, 10**6))) if n not in used)
        used.add(name)
        picture = np.asarray(shown_image(result.name, channels, max_pixels))
        write_atomic(folder / f"{name}.png", to_png(result.draw(picture)))
        for ending, content in result.files().items():
            write_atomic(folder / f"{name}{ending}", content)
        yield result


def shown_image(name: str, channels: int, max_pixels: int) -> "Image.Image":
    """The image of a result at its original size, in colour; images with other channels are converted to a picture."""
    from PIL import Image

    if channels in (1, 3) and not name.endswith(".npy"):
        from saccade.data.pictures import read_picture

        image, (height, width) = read_picture(name, channels=channels, max_pixels=max_pixels)
        return image.convert("RGB").resize((width, height))
    from saccade.data.images import read_scaled, rgb_pixels

    numbers, (height, width) = read_scaled(name, channels=channels, max_pixels=max_pixels)
    return Image.fromarray(rgb_pixels(numbers)).resize((width, height))


def expand(text: str) -> Iterator[Path]:
    """The image files of an argument. A name that is neither a folder nor a pattern is returned unchanged."""
    import glob

    from saccade.data.coco_images import coco_image_paths
    from saccade.data.image_formats import image_names, is_image_name
    from saccade.data.tar_members import member_paths
    from saccade.files import exists, is_dir, is_file

    path = Path(text)
    if path.suffix == ".tar" and is_file(path):
        paths = [member for member in member_paths(path) if is_image_name(member.name)]
    elif path.suffix == ".json" and is_file(path):
        paths = coco_image_paths(path)
    elif is_dir(path):
        paths = [Path(name) for name in image_names(str(p) for p in sorted(path.rglob("*")) if p.is_file())]
    elif not exists(path) and glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True))
        shards = [tar for tar in matches if tar.endswith(".tar")]
        paths = [member for tar in shards for member in expand(tar)] or [Path(p) for p in matches if is_image_name(p)]
    else:
        paths = [path]
    if not paths:
        raise ImageError(f"{text}: there are no images")
    yield from paths
