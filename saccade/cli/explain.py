"""`saccade explain`: a picture of what a model attends to."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.errors import ConfigError

SUFFIXES = (".png", ".svg", ".pdf", ".jpg")


def explain(
    model: str,
    images: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("attention.png"),
    image_size: int | None = None,
    budget: str = "4 GiB",
    device: str = "cpu",
) -> None:
    """Draw what a model attends to: the rollout of all layers, and each head of the last, over the image.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    images
        One row a picture: files, folders or patterns.
    output
        Where to draw: .png, .svg, .pdf or .jpg.
    image_size
        Side in pixels, instead of the model's own; positions are resampled.
    budget
        Memory that one picture's attention may take.
    device
        Such as cpu or cuda.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output must end in {', '.join(SUFFIXES)}, not {output.suffix or output.name!r}")
    if not output.parent.is_dir():
        raise ConfigError(f"--output: there is no folder {output.parent}")
    from saccade.analysis.attention_maps import explain as look
    from saccade.checkpoints.atomic import write_atomic
    from saccade.cli.predict import expand
    from saccade.inference.predictor import load
    from saccade.reporting.draw import explain_figure

    paths = list(dict.fromkeys(path for text in images for path in expand(text)))
    predictor = load(model, image_size=image_size, device=device)
    found = [look(predictor, path, budget=budget) for path in paths]
    figure = explain_figure(found)
    write_atomic(output, lambda path: figure.savefig(path, format=output.suffix[1:].lower()))
    for explanation in found:
        score = "" if explanation.score is None else f" {explanation.score:.1%}"
        print(f"{explanation.name}: {explanation.label}{score}")
    print(f"drawn in {output}")
