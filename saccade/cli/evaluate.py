"""`saccade evaluate`: metrics of a model on labelled data."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from saccade.cli.options import BootstrapOptions, Json, ModelOptions, WayOptions
from saccade.cli.terminal import names_on_one_line, printable, show
from saccade.errors import ConfigError
from saccade.json_io import dump_json

if TYPE_CHECKING:
    from saccade.engine.evaluation import Evaluation
    from saccade.engine.task import Task


@Parameter(name="*")
@dataclass(frozen=True)
class EvaluateOptions:
    """Options of some tasks; they are errors for the other tasks."""

    max_depth: float | None = None
    """For a depth model, in metres: farther ground truth is excluded, farther predictions are clamped to it; usually 10
    for NYU Depth v2, 80 for KITTI."""
    panoptic: Annotated[bool, Parameter(negative="")] = False
    """For a detector with masks: the panoptic quality of its segments instead of the AP of its boxes."""
    stuff: str = ""
    """With --panoptic: classes that are not counted, separated by commas."""

    def given(self) -> dict[str, Any]:
        """The options that are not at their defaults."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}


def evaluate(
    model: str,
    data: str,
    /,
    *,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    opening: ModelOptions | None = None,
    running: WayOptions | None = None,
    stages: bool = False,
    options: EvaluateOptions | None = None,
    bootstrap: BootstrapOptions | None = None,
    as_json: Json = False,
) -> None:
    """Measure a model on labelled images: accuracy, top-5, each class, confusion, calibration; AP of boxes; errors of
    depth; IoU of classes; or retrieval between images and captions.

    Parameters
    ----------
    model
        A run, a model directory, a published file, hub:ORG/NAME, or a file of `saccade export`.
    data
        A folder, a CSV, a zip, tar shards, or "digits"; for a detector COCO, Pascal VOC, YOLO, or "scenes"; for a CLIP
        a CSV or JSONL of image,caption.
    split
        auto, train, val, test or all. auto: held-out images (the test split, or the validation split of the model's own
        training data), otherwise all images.
    batch_size
        Images per batch.
    workers
        Processes that load images.
    stages
        For a detector: measure after every decoder layer (DETR), or the candidates (FCOS), each with and without
        non-maximum suppression.
    """
    from saccade.cli.counting import counting
    from saccade.engine.evaluation import evaluate as measure
    from saccade.inference.export.evaluation import evaluate_exported
    from saccade.inference.export.metadata import is_exported
    from saccade.tasks import table
    from saccade.tasks.loading import load

    draws = bootstrap or BootstrapOptions()
    if stages and draws.intervals:
        raise ConfigError("choose --stages or --intervals")
    way, task_options = opening or ModelOptions(), (options or EvaluateOptions()).given()
    fast = running or WayOptions()
    if is_exported(model):
        if stages or way != ModelOptions() or fast.fast or fast.merge:
            raise ConfigError("an exported file has a fixed size and labels, no other options, and no stages")
        with counting("images") as advance:
            result, task = evaluate_exported(
                model, data, table.room, split=split, batch_size=batch_size, workers=workers, options=task_options,
                on_inputs=advance,
            )  # fmt: skip
        report_metrics(result, task, draws, as_json)
        return
    predictor = load(model, image_size=way.image_size, device=way.device, options=task_options, labels=way.labels)
    predictor = fast.merged(predictor)
    predictor = fast.apply(predictor, batch_size)
    with counting(predictor.room.inputs) as advance:
        if stages:
            report = table.report(predictor.task.name)
            study = report.stages(
                predictor, data, split=split, batch_size=batch_size, workers=workers, on_inputs=advance
            )
            print(dump_json(study.to_dict()) if as_json else printable(study))
            return
        result = measure(predictor, data, split=split, batch_size=batch_size, workers=workers, on_inputs=advance)
    report_metrics(result, predictor.task, draws, as_json)


def report_metrics(result: "Evaluation", task: "Task", draws: BootstrapOptions, as_json: bool) -> None:
    """Print the metrics of a split, with their intervals if requested."""
    from saccade.engine.intervals import bootstrap as intervals_of

    intervals = None
    if draws.intervals:
        resampler = task.resampler(result.collected)
        intervals = intervals_of(resampler, len(result.collected), resamples=draws.resamples, seed=draws.seed)
    if as_json:
        content = {"split": result.split, "note": result.note, **result.metrics.to_dict()}
        print(dump_json(content | ({"intervals": intervals.to_dict()} if intervals else {})))
        return
    show(f"{result.split} ({result.note})", result.metrics)
    if intervals:
        show("", intervals)
    table_of_classes = names_on_one_line(result.metrics).table()
    if table_of_classes:
        show(f"\n{table_of_classes}")
