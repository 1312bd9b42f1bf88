"""`saccade analyze` shift, shuffle, occlusion, field: how outputs depend on positions in the image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.analyses.options import DataOptions, ModelOptions, OutputOptions

if TYPE_CHECKING:
    from saccade.analysis.perturbations import Kind

Others = Annotated[list[str] | None, Parameter(name="--other", consume_multiple=True, negative="")]
Levels = Annotated[list[float] | None, Parameter(consume_multiple=True, negative="")]


def shift(
    model: str,
    data: str,
    /,
    *,
    others: Others = None,
    levels: Levels = None,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """How much the output changes when the image is shifted by 0 to P pixels.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set, an image or a pattern such as "photos/*.jpg".
    others
        Further models, drawn in the same figure.
    levels
        Pixels to the right; pixels that leave the image re-enter at the left. Default: 0 to 8 and a whole patch.
    """
    _curves("shift", model, data, others, levels, opened, inputs, result)


def shuffle(
    model: str,
    data: str,
    /,
    *,
    others: Others = None,
    levels: Levels = None,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Output and accuracy when the tiles of the image are shuffled, up to a permutation of the patches.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set, an image or a pattern such as "photos/*.jpg".
    others
        Further models, drawn in the same figure.
    levels
        Tiles per side (default: 1, 2, 4, ... up to the grid of the patches).
    """
    _curves("shuffle", model, data, others, levels, opened, inputs, result)


def occlusion(
    model: str,
    data: str,
    /,
    *,
    others: Others = None,
    levels: Levels = None,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Output and accuracy when random patches are replaced by the mean colour.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set, an image or a pattern such as "photos/*.jpg".
    others
        Further models, drawn in the same figure.
    levels
        Fractions of the patches (default: 0 to 0.9).
    """
    _curves("occlusion", model, data, others, levels, opened, inputs, result)


def _curves(
    kind: "Kind",
    model: str,
    data: str,
    others: list[str] | None,
    levels: list[float] | None,
    opened: ModelOptions | None,
    inputs: DataOptions | None,
    result: OutputOptions | None,
) -> None:
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.perturbations import Perturbation, perturbation_curve
    from saccade.cli.counting import counting
    from saccade.reporting.perturbation_plots import perturbation_figure

    options, source = opened or ModelOptions(), inputs or DataOptions()
    curves, note = [], ""
    for path in (model, *(others or ())):
        predictor = options.load(path)
        images = source.open(predictor, data)
        note = note or images.note
        with counting("images") as advance:
            curves.append(perturbation_curve(predictor, images, kind, levels, name=Path(path).name, on_images=advance))
    made = Perturbation(kind, tuple(curves), note)
    delivery.deliver(kind, made, lambda: perturbation_figure(made))


def field(
    model: str,
    data: str,
    /,
    *,
    other: str | None = None,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Effective receptive field of the central position of every layer, from the gradient of the input.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set, an image or a pattern such as "photos/*.jpg"; --images 32 is enough.
    other
        A second model, drawn below the first; the numbers are those of the first.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.receptive_field import receptive_field
    from saccade.cli.counting import counting
    from saccade.reporting.perturbation_plots import field_figure

    options, source = opened or ModelOptions(), inputs or DataOptions()
    fields = []
    for path in (model, *([other] if other else [])):
        predictor = options.load(path)
        images = source.open(predictor, data)
        with counting("images") as advance:
            fields.append(receptive_field(predictor, images, on_images=advance))
    delivery.deliver("field", fields[0], lambda: field_figure(fields))
