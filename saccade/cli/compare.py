"""`saccade compare`: two classifiers on the same images, in one report."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.analyses.options import DataOptions
from saccade.cli.options import Json
from saccade.errors import ConfigError
from saccade.json_io import dump_json

if TYPE_CHECKING:
    from saccade.analysis.comparison import Disagreement
    from saccade.engine.predictor import Predictor
    from saccade.reporting.comparison import ShownDisagreement

IMAGES = 100  # that are shifted and corrupted, unless given


def compare(
    model: str,
    other: str,
    data: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("compare.html"),
    pictures: int = 12,
    corruptions: bool = True,
    device: str = "cpu",
    inputs: DataOptions | None = None,
    as_json: Json = False,
) -> None:
    """Compare two classifiers: accuracy with a paired interval and McNemar's test, disagreements with pictures,
    calibration, cost, speed, shifts and corruptions, in one HTML file. With --split auto each model has the images that
    it was not trained on, and those of both count; --images are those that are shifted and corrupted, 100 unless given.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    other
        The second model, with the same classes.
    data
        A data set of images with classes.
    output
        Where to write the report.
    pictures
        Most disagreements that are shown.
    corruptions
        Measure the error under common corruptions.
    device
        Such as cpu, cuda or auto.
    """
    if output.suffix.lower() != ".html" or not output.parent.is_dir():
        raise ConfigError(f"--output must be a .html file in an existing folder, not {output}")
    from saccade.analysis.comparison import compare as measure
    from saccade.analysis.perturbations import Perturbation, perturbation_curve
    from saccade.analysis.robustness import in_relation, robustness
    from saccade.checkpoints.atomic import write_atomic
    from saccade.cli.counting import counting
    from saccade.engine.room import command
    from saccade.reporting.comparison import comparison_page
    from saccade.tasks.loading import load
    from saccade.training.run_directory import environment

    predictors = load(model, device=device), load(other, device=device)
    names = Path(model).name, Path(other).name
    if names[0] == names[1]:
        names = model, other
    source = inputs or DataOptions()
    with counting("images") as advance:
        result = measure(
            predictors[0],
            predictors[1],
            data,
            names=names,
            split=source.split,
            batch_size=source.batch_size,
            workers=source.workers,
            on_inputs=advance,
        )
    some = replace(source, images=source.images or IMAGES)
    curves, errors = [], []
    for name, predictor in zip(names, predictors):
        with counting("shifts") as advance:
            curves.append(
                perturbation_curve(predictor, some.open(predictor, data), "shift", name=name, on_images=advance)
            )
        if corruptions:
            with counting("corruptions") as advance:
                errors.append(robustness(predictor, some.open(predictor, data), name=name, on_images=advance))
    comparable = len(errors) == 2 and errors[0].images == errors[1].images
    page = comparison_page(
        result,
        shown(predictors, data, source.split, result.disagreements[:pictures]),
        shift=Perturbation("shift", tuple(curves), result.note),
        robustness=in_relation(errors[0], errors[1]) if comparable else errors[0] if errors else None,
        environment=environment(),
        command=command("saccade", "compare", model, other, data, "--output", output),
    )
    write_atomic(output, page.encode())
    print(dump_json(result.to_dict()) if as_json else f"{result}\nreport in {output}")


def shown(
    predictors: "tuple[Predictor, Predictor]", data: str, split: str, rows: "tuple[Disagreement, ...]"
) -> "list[ShownDisagreement]":
    """The images of some disagreements, and where each model looked."""
    from saccade.analysis.attention_maps import to_pixels
    from saccade.analysis.image_maps import image_map
    from saccade.engine.evaluation import choose_split
    from saccade.errors import RecordingError
    from saccade.reporting.comparison import ShownDisagreement

    _, parts, _ = choose_split(predictors[0], data, split)
    places = {name: (part, index) for part in parts.values() for index, name in enumerate(part.names)}
    out = []
    for row in rows:
        part, index = places[row.name]
        image = part.image(index)  # type: ignore[attr-defined]  # classifiers are measured on images
        maps = []
        for predictor, label in zip(predictors, row.labels):
            try:
                maps.append(image_map(predictor, image, "grad-cam", target=label))
            except (ConfigError, RecordingError):
                maps.append(None)
        pixels = to_pixels(predictors[0].preprocess.denormalize(predictors[0].prepare(image)))
        out.append(ShownDisagreement(row, pixels, (maps[0], maps[1])))
    return out
