"""`saccade search`: find images by a text or by another image."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.options import CacheOptions, Json, RunOptions
from saccade.cli.terminal import name_on_one_line
from saccade.errors import ConfigError
from saccade.json_io import dump_json


def search(
    model: str,
    images: str,
    query: str,
    /,
    *,
    top: int = 5,
    draw: Path | None = None,
    approximate: Annotated[bool, Parameter(negative="")] = False,
    vocabulary: str = "",
    keep: CacheOptions | None = None,
    batch_size: int = 32,
    running: RunOptions | None = None,
    as_json: Json = False,
) -> None:
    """Find the images nearest to a text or to another image.

    The vectors of the images are computed once and cached: further searches of the same images are immediate.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME: a CLIP for a text, any model for an image.
    images
        Images to search: a folder (at any depth), a zip or tar shards.
    query
        A text, or the path of an image.
    top
        Number of images to return.
    draw
        Write a picture (.png or .jpg) of the images, best first.
    approximate
        Search a graph index instead of comparing with every image, for millions of images (pip install
        saccade[search]).
    vocabulary
        As for `saccade zeroshot`.
    batch_size
        Images per batch.
    """
    from saccade.cli.counting import counting
    from saccade.data.images import is_image_name
    from saccade.tasks.contrastive.search import SearchIndex
    from saccade.tasks.contrastive.texts import tokenizer_of
    from saccade.tasks.loading import load

    cache = (keep or CacheOptions()).folder()
    if draw is not None and draw.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--draw writes .png or .jpg, not {draw.name}")
    by_image = is_image_name(query)
    if by_image and not Path(query).is_file():
        raise ConfigError(f"there is no image {query}")
    way = running or RunOptions()
    predictor = way.apply(load(model, device=way.device), batch_size, "embed")
    if not by_image:
        tokenizer_of(predictor, vocabulary)  # fails before the images are embedded
    with counting("images") as advance:
        index = SearchIndex(
            predictor, images, cache=cache, batch_size=batch_size,
            approximate=approximate, vocabulary=vocabulary, on_images=lambda done: advance(done, done),
        )  # fmt: skip
    hits = index.by_image(query, top) if by_image else index.by_text(query, top)
    if draw is not None:
        from saccade.reporting.draw import contact_sheet

        contact_sheet([index.picture(hit) for hit in hits], [f"{hit.score:.2f}  {hit.image}" for hit in hits], draw)
    if as_json:
        print(dump_json([asdict(hit) for hit in hits]))
        return
    for hit in hits:
        print(f"{hit.score:.3f}  {name_on_one_line(hit.image)}")
