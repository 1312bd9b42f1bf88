"""`saccade translate`: texts out of texts, or out of images."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.errors import ConfigError

SUFFIXES = (".png", ".svg", ".pdf", ".jpg")
MOST_DRAWN = 8


def translate(
    model: str,
    sources: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    beams: int = 1,
    penalty: float = 1.0,
    draw: Path | None = None,
    layer: int = -1,
    batch_size: int = 32,
    device: str = "cpu",
    as_json: Json = False,
) -> None:
    """Write what a model makes of texts, or of images: `saccade translate runs/numbers "twenty-one"`.

    Parameters
    ----------
    model
        A run or a model directory of a model that writes.
    sources
        Texts, text files (.txt, a text a line), or for a model that looks at images files, folders and patterns.
    beams
        Sentences that are written side by side, of which the best stays; 1 takes the likeliest word each time.
    penalty
        Power of the length by which the score of a beam is divided.
    draw
        Draw which word of the source each written word looked at, or which part of the image: .png, .svg, .pdf, .jpg.
    layer
        With --draw: which block of the decoder.
    batch_size
        Sources at once.
    device
        Such as cpu or cuda.
    """
    if beams < 1:
        raise ConfigError(f"--beams must be at least 1, not {beams}")
    if draw is not None and draw.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--draw must end in {', '.join(SUFFIXES)}, not {draw.suffix or draw.name!r}")
    from saccade.analysis.alignment import align
    from saccade.checkpoints.atomic import write_atomic
    from saccade.cli.predict import expand
    from saccade.inference.predictor import load
    from saccade.inference.writing import reads_images, writer_of
    from saccade.inference.writing import translate as write
    from saccade.reporting.texts import alignment_figure

    predictor = load(model, device=device)
    writer_of(predictor)
    told = [part for text in sources for part in (expand(text) if reads_images(predictor) else _texts(text))]
    found = write(predictor, told, beams=beams, penalty=penalty, batch_size=batch_size)
    if draw is not None:
        if len(told) > MOST_DRAWN:
            raise ConfigError(f"--draw takes up to {MOST_DRAWN} sources, not {len(told)}")
        figure = alignment_figure([align(predictor, one, layer=layer) for one in told])
        write_atomic(draw, lambda path: figure.savefig(path, format=draw.suffix[1:].lower()))
    if as_json:
        print(json.dumps([{"source": one.image, "text": one.text} for one in found], indent=1, ensure_ascii=False))
        return
    for one in found:
        print(one)


def _texts(source: str) -> list[str]:
    """The text itself, or the lines of a text file."""
    if not source.endswith(".txt"):
        return [source]
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} is no readable text: {error}") from None
    return [line.strip() for line in lines if line.strip()]
