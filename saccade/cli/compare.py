"""`saccade compare`: two models of one task on the same inputs, in one report."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.analyses.options import DataOptions
from saccade.cli.options import Json
from saccade.cli.terminal import show
from saccade.errors import ConfigError
from saccade.json_io import dump_json

if TYPE_CHECKING:
    from saccade.analysis.comparison import Comparison, Disagreement
    from saccade.analysis.paired_metrics import InputDifference, TaskComparison
    from saccade.data.samples import ImageSource
    from saccade.engine.predictor import Predictor
    from saccade.reporting.comparison import ShownDisagreement
    from saccade.reporting.task_comparison import ShownDifference

IMAGES = 100  # that are shifted and corrupted, by default


def compare(
    model: str,
    other: str,
    data: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("compare.html"),
    pictures: int = 12,
    corruptions: bool = True,
    resamples: int = 1000,
    device: str = "cpu",
    inputs: DataOptions | None = None,
    as_json: Json = False,
) -> None:
    """Compare two models of one task on the same inputs, in one HTML file. With --split auto, these are
    the inputs that neither model was trained on.

    For classifiers with one class per image: accuracy with a paired interval and McNemar's test, disagreements with
    pictures, calibration, cost, speed, shifts and corruptions (of --images, 100 by default). For detection, depth,
    segmentation and all other tasks: every main metric with the paired interval of its difference, the images on which
    the models differ most, cost and speed.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    other
        The second model, of the same task and with the same classes.
    data
        A data set of the task, with targets.
    output
        Where to write the report.
    pictures
        Maximum number of images to show.
    corruptions
        Measure the error of classifiers under common corruptions.
    resamples
        Number of bootstrap resamples of metrics; for detectors ten take about a second.
    device
        Device, such as cpu, cuda or auto.
    """
    if output.suffix.lower() != ".html" or not output.parent.is_dir():
        raise ConfigError(f"--output must be a .html file in an existing folder, not {output}")
    from saccade.analysis.inputs import gives_one_class
    from saccade.checkpoints.atomic import write_atomic
    from saccade.engine.room import command
    from saccade.tasks.loading import load

    predictors = load(model, device=device), load(other, device=device)
    names = Path(model).name, Path(other).name
    if names[0] == names[1]:
        names = model, other
    source = inputs or DataOptions()
    chosen = [("--pictures", pictures, 12), ("--resamples", resamples, 1000), ("--split", source.split, "auto"),
              ("--images", source.images, None)]  # fmt: skip
    options = [part for name, value, default in chosen if value != default for part in (name, value)]
    options += [] if corruptions else ["--no-corruptions"]
    again = command("saccade", "compare", model, other, data, *options, "--output", output)
    result: Comparison | TaskComparison
    if all(gives_one_class(predictor) for predictor in predictors):
        result, page = classifiers(predictors, names, data, source, pictures, corruptions, again)
    else:
        result, page = models_of_a_task(predictors, names, data, source, pictures, resamples, again)
    write_atomic(output, page.encode())
    if as_json:
        print(dump_json(result.to_dict()))
    else:
        show(result, f"report in {output}")


def classifiers(
    predictors: "tuple[Predictor, Predictor]",
    names: tuple[str, str],
    data: str,
    source: DataOptions,
    pictures: int,
    corruptions: bool,
    again: str,
) -> "tuple[Comparison, str]":
    """The comparison and its page."""
    from saccade.analysis.comparison import compare as measure
    from saccade.analysis.perturbations import Perturbation, perturbation_curve
    from saccade.analysis.robustness import in_relation, robustness
    from saccade.cli.counting import counting
    from saccade.reporting.comparison import comparison_page
    from saccade.training.run_directory import environment

    with counting("images") as advance:
        result = measure(
            *predictors, data, names=names, split=source.split, batch_size=source.batch_size, workers=source.workers,
            on_inputs=advance,
        )  # fmt: skip
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
        command=again,
    )
    return result, page


def models_of_a_task(
    predictors: "tuple[Predictor, Predictor]",
    names: tuple[str, str],
    data: str,
    source: DataOptions,
    pictures: int,
    resamples: int,
    again: str,
) -> "tuple[TaskComparison, str]":
    """The comparison and its page."""
    from saccade.analysis.paired_metrics import compare_metrics
    from saccade.cli.counting import counting
    from saccade.reporting.task_comparison import task_comparison_page
    from saccade.training.run_directory import environment

    with counting("inputs, then draws") as advance:
        result = compare_metrics(
            *predictors, data, names=names, split=source.split, batch_size=source.batch_size, workers=source.workers,
            resamples=resamples, on_inputs=advance, on_draws=advance,
        )  # fmt: skip
    differences = []
    if predictors[0].reads_images:
        differences = drawn_differences(predictors, data, source.split, result.largest[:pictures])
    unit = predictors[0].room.inputs
    return result, task_comparison_page(result, differences, unit=unit, environment=environment(), command=again)


def drawn_differences(
    predictors: "tuple[Predictor, Predictor]", data: str, split: str, rows: "tuple[InputDifference, ...]"
) -> "list[ShownDifference]":
    """The predictions of both models for some images, drawn over them."""
    from saccade.data.images import rgb_pixels
    from saccade.reporting.task_comparison import ShownDifference

    places = image_places(predictors[0], data, split)
    out = []
    for row in rows:
        part, index = places[row.name]
        drawings = []
        for predictor in predictors:
            image = part.image(index, predictor.preprocess.channels)
            drawings.append(predictor.predict(image).draw(rgb_pixels(image)))
        out.append(ShownDifference(row, (drawings[0], drawings[1])))
    return out


def image_places(predictor: "Predictor", data: str, split: str) -> "dict[str, tuple[ImageSource, int]]":
    """Paths of the images of a split, by name."""
    from saccade.engine.evaluation import choose_split

    _, parts, _ = choose_split(predictor, data, split)
    # models of images are measured on sources of images
    return {name: (part, index) for part in parts.values() for index, name in enumerate(part.names)}  # type: ignore[misc]


def shown(
    predictors: "tuple[Predictor, Predictor]", data: str, split: str, rows: "tuple[Disagreement, ...]"
) -> "list[ShownDisagreement]":
    """The images of some disagreements, and the attention map of each model."""
    from saccade.analysis.attention_maps import to_pixels
    from saccade.analysis.image_maps import image_map
    from saccade.errors import RecordingError
    from saccade.reporting.comparison import ShownDisagreement

    places = image_places(predictors[0], data, split)
    out = []
    for row in rows:
        part, index = places[row.name]
        image = part.image(index)
        maps = []
        for predictor, label in zip(predictors, row.labels):
            try:
                maps.append(image_map(predictor, image, "grad-cam", target=label))
            except (ConfigError, RecordingError):
                maps.append(None)
        pixels = to_pixels(predictors[0].preprocess.denormalize(predictors[0].prepare(image)))
        out.append(ShownDisagreement(row, pixels, (maps[0], maps[1])))
    return out
