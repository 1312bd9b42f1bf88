"""`saccade embed`: a vector for each image, into one file."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.batch import JobOptions, run_job
from saccade.cli.options import WayOptions
from saccade.cli.predict import expand
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.engine.predictor import Predictor
    from saccade.inference.batch_job import Stream


def embed(
    model: str,
    inputs: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    out: Path,
    normalize: Annotated[bool, Parameter(negative="")] = False,
    image_size: int | None = None,
    device: str = "cpu",
    batch_size: int = 16,
    max_pixels: int | None = None,
    running: WayOptions | None = None,
    job: JobOptions | None = None,
) -> int:
    """Write the vector of each image that the head of the model reads, or that a CLIP compares with texts. Broken
    images are listed in NAME-errors.csv, and the exit code is 1.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    inputs
        Files, folders (all images below them), patterns such as "photos/*.jpg", tars (all images in them) or COCO
        annotation files (the images that they list).
    out
        The file: .parquet or .jsonl with the columns image and embedding, or .csv with a column for each number. A job
        that is killed continues when it is started again.
    normalize
        Divide each vector by its length, so that products of vectors are cosine similarities.
    image_size
        Side of the images in pixels, instead of the model's own; positions are resampled.
    device
        Device, such as cpu, cuda or auto.
    batch_size
        Images per batch.
    max_pixels
        Largest number of pixels of an image (default: 89 million); a JPEG of up to four times as many is decoded at
        half its resolution.
    """
    from saccade.data.images import MAX_PIXELS
    from saccade.engine.embedding import require_embedding, stream_embeddings
    from saccade.inference.export.metadata import is_exported

    if is_exported(model):
        raise ConfigError(f"{model} has the outputs of its task alone: embed needs the model that it was exported from")
    way, pixels = running or WayOptions(), MAX_PIXELS if max_pixels is None else max_pixels
    if pixels < 1:
        raise ConfigError(f"--max-pixels must be at least 1, not {pixels}")
    sources = list(dict.fromkeys(str(path) for text in inputs for path in expand(text)))
    batch = min(batch_size, len(sources))
    predictor = opened(model, way, image_size, device, pixels)
    require_embedding(predictor)
    described = {"command": "embed", "model": predictor.digest(), "batch_size": batch_size, "max_pixels": pixels}
    stream = partial(stream_embeddings, way.apply(predictor, batch, "embed"), normalize=normalize)
    again = partial(open_stream, model, way, image_size, device, pixels, normalize, batch)
    return run_job(
        "embed", stream, sources, out, job or JobOptions(), batch_size,
        described | asdict(way) | {"normalize": normalize}, again,
    )  # fmt: skip


def opened(model: str, way: WayOptions, image_size: int | None, device: str, max_pixels: int) -> "Predictor":
    from saccade.tasks.loading import load

    predictor = way.merged(load(model, image_size=image_size, device=device))
    predictor.max_pixels = max_pixels
    return predictor


def open_stream(
    model: str, way: WayOptions, image_size: int | None, device: str, max_pixels: int, normalize: bool, batch_size: int
) -> "Stream":
    """What embeds, in its own process."""
    from saccade.engine.embedding import stream_embeddings

    predictor = way.apply(opened(model, way, image_size, device, max_pixels), batch_size, "embed")
    return partial(stream_embeddings, predictor, normalize=normalize)
