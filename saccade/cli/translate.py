"""`saccade translate`: texts generated from texts or images."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.cli.terminal import show
from saccade.errors import ConfigError
from saccade.json_io import dump_json

SUFFIXES = (".png", ".svg", ".pdf", ".jpg")
MAX_DRAWN = 8


def translate(
    model: str,
    sources: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    beams: int = 1,
    length_penalty: float = 1.0,
    draw: Path | None = None,
    layer: int = -1,
    batch_size: int = 32,
    device: str = "cpu",
    as_json: Json = False,
) -> None:
    """Generate a text for each source: `saccade translate runs/numbers "twenty-one"`.

    Parameters
    ----------
    model
        A run or a model directory of an encoder-decoder model.
    sources
        Texts, or text files (.txt, one text per line); for a model that reads images, files, folders and patterns.
    beams
        Number of beams of the beam search; 1 decodes greedily.
    length_penalty
        Exponent of the beam search: scores are divided by the length to this power.
    draw
        File for a picture of the alignment (source tokens or image parts that each token attends to): .png, .svg, .pdf,
        .jpg.
    layer
        With --draw: block of the decoder.
    batch_size
        Sources per batch.
    device
        Device, such as cpu or cuda.
    """
    if beams < 1:
        raise ConfigError(f"--beams must be at least 1, not {beams}")
    if draw is not None and draw.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--draw must end in {', '.join(SUFFIXES)}, not {draw.suffix or draw.name!r}")
    from saccade.checkpoints.atomic import write_atomic
    from saccade.cli.predict import expand
    from saccade.tasks.loading import load
    from saccade.tasks.seq2seq.alignment import align
    from saccade.tasks.seq2seq.report import alignment_figure
    from saccade.tasks.seq2seq.translate import encoder_decoder
    from saccade.tasks.seq2seq.translate import translate as generate

    predictor = load(model, device=device)
    encoder_decoder(predictor)
    read = expand if predictor.reads_images else _texts
    inputs: list[Any] = [part for text in sources for part in read(text)]
    texts = generate(predictor, inputs, num_beams=beams, length_penalty=length_penalty, batch_size=batch_size)
    if draw is not None:
        if len(inputs) > MAX_DRAWN:
            raise ConfigError(f"--draw takes up to {MAX_DRAWN} sources, not {len(inputs)}")
        figure = alignment_figure([align(predictor, source, layer=layer) for source in inputs])
        write_atomic(draw, lambda path: figure.savefig(path, format=draw.suffix[1:].lower()))
    if as_json:
        print(dump_json([text.to_dict() for text in texts]))
        return
    for text in texts:
        show(text)


def _texts(source: str) -> list[str]:
    """The text itself, or the lines of a text file."""
    if not source.endswith(".txt"):
        return [source]
    from saccade.files import read_lines

    return [line.strip() for line in read_lines(Path(source), ConfigError) if line.strip()]
