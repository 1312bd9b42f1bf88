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
    point: tuple[float, float] | None = None,
    image_size: int | None = None,
    budget: str = "4 GiB",
    device: str = "cpu",
) -> None:
    """Draw what a model attends to.

    Of a classifier the rollout of all layers and each head of the last, over the image. Of a DETR what it found, and
    where the query that found it looked. Of a model that writes where each word looked. With --point, where one place
    of the image looks in every layer: also of a DPT.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    images
        One row a picture: files, folders or patterns.
    output
        Where to draw: .png, .svg, .pdf or .jpg.
    point
        Two shares of width and height from the left upper corner, such as 0.5 0.25.
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
    from saccade.analysis.alignment import align
    from saccade.analysis.attention_maps import explain as look
    from saccade.analysis.points import point_attention
    from saccade.analysis.queries import found_objects
    from saccade.checkpoints.atomic import write_atomic
    from saccade.cli.predict import expand
    from saccade.inference.predictor import load
    from saccade.inference.writing import translate
    from saccade.reporting.draw import explain_figure
    from saccade.reporting.looking import objects_figure, point_figure
    from saccade.reporting.texts import alignment_figure

    paths = list(dict.fromkeys(path for text in images for path in expand(text)))
    predictor = load(model, image_size=image_size, device=device)
    if point is not None:
        figure = point_figure([point_attention(predictor, path, point, budget=budget) for path in paths])
        told = [f"{path}: {point[0]:g}, {point[1]:g} in every layer" for path in paths]
    elif predictor.task == "detection":
        objects = [found_objects(predictor, path, budget=budget) for path in paths]
        figure = objects_figure(objects)
        told = [f"{o.name}: " + (", ".join(t.box.label for t in o.objects) or "nothing") for o in objects]
    elif predictor.task == "translation":
        figure = alignment_figure([align(predictor, path, budget=budget) for path in paths])
        told = [str(one) for one in translate(predictor, paths)]
    else:
        found = [look(predictor, path, budget=budget) for path in paths]
        figure = explain_figure(found)
        told = [f"{e.name}: {e.label}" + ("" if e.score is None else f" {e.score:.1%}") for e in found]
    write_atomic(output, lambda path: figure.savefig(path, format=output.suffix[1:].lower()))
    print(*told, f"drawn in {output}", sep="\n")
