"""`saccade predict`: what images show."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.errors import ConfigError, ImageError


def predict(
    model: str,
    images: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    top: int = 5,
    batch_size: int = 16,
    image_size: int | None = None,
    device: str = "cpu",
    as_json: Json = False,
    as_csv: Annotated[bool, Parameter(name="--csv", negative="", help="Print CSV instead of text.")] = False,
) -> int:
    """Say what images show. A broken image is named on stderr, the others go on, and the exit code is 1.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    images
        Files, folders (all images below them) and patterns such as "photos/*.jpg".
    top
        Classes to name for each image.
    batch_size
        Images at once.
    image_size
        Side in pixels, instead of the model's own; positions are resampled.
    device
        Such as cpu or cuda.
    """
    from saccade.inference.predictor import load

    if top < 1:
        raise ConfigError(f"--top must be at least 1, not {top}")
    if as_json and as_csv:
        raise ConfigError("choose --json or --csv")
    paths = list(dict.fromkeys(path for text in images for path in expand(text)))
    predictor = load(model, image_size=image_size, device=device)
    failed = 0

    def say(name: str, error: ImageError) -> None:
        nonlocal failed
        failed += 1
        print(f"saccade: {error}", file=sys.stderr)

    found = predictor.stream(paths, top=top, batch_size=batch_size, on_error=say)
    if as_json:
        print(json.dumps([p.to_dict() for p in found], indent=1, ensure_ascii=False))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["image", "rank", "label", "score"])
        for prediction in found:
            for rank, (label, score) in enumerate(prediction.top, 1):
                writer.writerow([prediction.image, rank, label, f"{score:.6f}"])
    else:
        for prediction in found:
            print(prediction, flush=True)
    return 1 if failed else 0


def expand(text: str) -> Iterator[Path]:
    """The image files that an argument stands for. A name that is no folder and no pattern is taken as it is."""
    import glob

    from saccade.data.images import is_image_name

    path = Path(text)
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and is_image_name(p.name)]
    elif not path.exists() and glob.has_magic(text):
        found = [Path(p) for p in sorted(glob.glob(text, recursive=True)) if is_image_name(p)]
    else:
        found = [path]
    if not found:
        raise ImageError(f"{text}: there are no images")
    yield from found
