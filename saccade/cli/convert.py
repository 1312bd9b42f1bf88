"""`saccade convert`: write a model in another project's format."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from saccade.cli.terminal import show

Target = Literal["saccade", "huggingface", "timm", "torchvision", "openai"]


def convert(
    model: str,
    out: Path,
    /,
    *,
    to: Annotated[Target, Parameter(help="Project whose tensor names, layout and config the result has.")],
    image_size: int | None = None,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
) -> None:
    """Write a model in another project's format; the result is read back and must be bit-identical.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    out
        A new folder; a new .pth file for torchvision and openai.
    image_size
        Side in pixels, instead of the model's own; positions are resampled.
    set
        An option of the model that its file does not record, as KEY=VALUE: --set text.block.activation=gelu. With --to
        saccade the resulting model directory records it for every command.
    """
    from saccade.checkpoints.convert import convert as write
    from saccade.training.config import parse_override

    size = None if image_size is None else (image_size, image_size)
    options = dict(parse_override(text) for text in set)
    for note in write(model, out, to, image_size=size, options=options):
        show(note)
    show(f"{to}: {out}")
