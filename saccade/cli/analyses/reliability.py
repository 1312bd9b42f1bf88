"""`saccade analyze` calibration, robustness: reliability of a classifier."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.analyses.options import DataOptions, ModelOptions, OutputOptions, Texts, reader
from saccade.errors import ConfigError


def calibration(
    model: str,
    data: str,
    /,
    *,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    text: Texts = None,
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Expected calibration error of a classifier, before and after a temperature fitted on the validation split.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set; if it has no validation split, the temperature is fitted on a random half of the measured split and
        measured on the other half.
    split
        Split to measure on: auto, test, train or all.
    batch_size
        Images per batch.
    workers
        Processes that load images.
    """
    delivery = result or OutputOptions()
    delivery.check()
    if split == "val":
        raise ConfigError("the temperature is fitted on the validation split: measure on another one")
    from saccade.analysis.calibration import calibration as measure
    from saccade.analysis.logits import class_logits, halves, has_validation
    from saccade.cli.counting import counting
    from saccade.reporting.reliability_plots import calibration_figure

    predictor = reader((opened or ModelOptions()).load(model), text)
    with counting("images") as advance:
        test = class_logits(predictor, data, split, batch_size, workers, advance)
        if has_validation(predictor, data) and "val" not in test.parts:
            fit = class_logits(predictor, data, "val", batch_size, workers, advance)
        else:
            fit, test = halves(test)
    made = measure(fit.logits, fit.targets, test.logits, test.targets, note=test.note)
    delivery.deliver("calibration", made, lambda: calibration_figure(made))


def robustness(
    model: str,
    data: str,
    /,
    *,
    other: str | None = None,
    corruptions: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    text: Texts = None,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Error of a classifier under common corruptions (Hendrycks & Dietterich 2019), at five severities each.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set of images with classes.
    other
        A second model, such as a ConvNet of equal cost, relative to which the corruption error is given.
    corruptions
        Names of corruptions, such as fog jpeg; by default the fifteen of the benchmark, with rime in place of frost.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.robustness import in_relation
    from saccade.analysis.robustness import robustness as measure
    from saccade.cli.counting import counting
    from saccade.reporting.reliability_plots import robustness_figure

    options, source = opened or ModelOptions(), inputs or DataOptions()
    results = []
    for path in (model, *([other] if other else [])):
        predictor = reader(options.load(path), text)
        images = source.open(predictor, data)
        with counting("images") as advance:
            results.append(measure(predictor, images, corruptions=corruptions, name=Path(path).name, on_images=advance))
    made = results[0] if other is None else in_relation(*results)
    delivery.deliver("robustness", made, lambda: robustness_figure(made))
