"""Compute the measures of a study.

The analyses are those of `saccade.analysis`; here each gets a model and the data of its run, and gives numbers by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from saccade.analysis.attention_distance import measure_attention_distance
from saccade.analysis.calibration import calibration
from saccade.analysis.cost_by_size import forward_cpu_milliseconds
from saccade.analysis.importance import measure_importance
from saccade.analysis.inputs import open_images
from saccade.analysis.logits import class_logits, halves, has_validation
from saccade.analysis.probing import draw, few_shot_accuracy
from saccade.analysis.robustness import require_corruptions, robustness
from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.data.batching import eval_batches
from saccade.data.image_folder import open_data
from saccade.data.samples import DataSplits, ImageSource
from saccade.engine.collect import collect
from saccade.engine.evaluation import evaluate
from saccade.engine.features import extract
from saccade.engine.predictor import Predictor
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.lab.measures import (
    AttentionDistanceOptions,
    CalibrationOptions,
    CostOptions,
    EvaluationOptions,
    FewShotOptions,
    HeadImportanceOptions,
    Measure,
    RobustnessOptions,
)
from saccade.models.cost import measure_cost
from saccade.models.model import Model
from saccade.nn.attention import Attention
from saccade.tasks import table
from saccade.tasks.loading import predictor_of
from saccade.training.config import RunConfig

Value = float | list[float | None]  # a number, or one for each layer
Values = dict[str, Value]
BATCH = 32


def take(measure: Measure, model: Path, config: RunConfig, *, workers: int = 0) -> Values:
    """The numbers of a measure.

    Args:
        measure: what.
        model: directory of the trained model.
        config: of its run.
        workers: loader processes.

    Raises:
        SaccadeError: the model does not support it.
    """
    loaded = load_model(model) if measure.weights == "trained" else initial_model(config)
    size = asdict(measure.options).get("image_size")
    if size is not None:
        loaded = at_size(loaded, size)
    values = TAKE[measure.kind](measure.options, predictor_of(loaded, device=config.device), config, workers)
    return {measure.prefix + name: value for name, value in values.items()}


def require(measure: Measure, setup: TrainingSetup, config: RunConfig) -> None:
    """Check, before training, that the model and the data of a run support a measure.

    Raises:
        ConfigError: the model does not support it, or an option names something that does not exist.
        DataError: the measure's own data cannot be opened.
    """
    kind, model, options = measure.kind, setup.start.model, measure.options
    if kind in ("attention_distance", "head_importance") and not any(isinstance(m, Attention) for m in model.modules()):
        raise ConfigError(f"the measure {kind} needs a model with attention, which {name(setup)} has not; {ADVICE}")
    if kind == "attention_distance" and model.token_layout() is None:
        raise ConfigError(f"the measure {kind} needs tokens that are patches, which {name(setup)} has not; {ADVICE}")
    if kind in ("robustness", "calibration"):
        require_classifier(kind, setup)
    if kind in ("attention_distance", "robustness", "few_shot") and setup.start.preprocessing is None:
        raise ConfigError(f"the measure {kind} needs a model of images, and {name(setup)} reads texts; {ADVICE}")
    if kind == "few_shot" and type(model).embed is Model.embed:
        raise ConfigError(f"the measure {kind} needs a vector for each image, which {name(setup)} has not; {ADVICE}")
    if isinstance(options, RobustnessOptions):
        require_corruptions(options.corruptions)
    if isinstance(options, FewShotOptions):
        few_shot_data(options, config)
    if isinstance(options, EvaluationOptions) and options.data:
        table.room(config.task).open_data(options.data, config.data, setup.start)
    size = asdict(options).get("image_size")
    if size is not None:
        with torch.random.fork_rng(devices=[]):  # a model of another size draws first weights, which are replaced
            at_size(setup.start, size)


ADVICE = "name the levels of the grid that are measured: levels: {AXIS: [LEVEL]}"


def name(setup: TrainingSetup) -> str:
    return f"the architecture {setup.start.architecture}"


def require_classifier(kind: str, setup: TrainingSetup) -> None:
    """Raise ConfigError unless the model gives one class to an image, by its outputs for one."""
    dataset = setup.test or setup.val or setup.train
    batch = next(iter(eval_batches(dataset, 1, workers=0)))
    tensors = collect(setup.start.model, [batch], "cpu", setup.task).tensors
    logits, target = tensors.get("logits"), tensors.get("target")
    one_class = logits is not None and target is not None and logits.ndim == 2 and target.ndim == 1
    if not one_class or not setup.start.labels or cast(torch.Tensor, target).is_floating_point():
        raise ConfigError(f"the measure {kind} needs a classifier of one class an image, not {setup.task.name}")


def at_size(loaded: LoadedModel, size: tuple[int, int]) -> LoadedModel:
    """The model for images of another size.

    Raises:
        ConfigError: it takes no such images.
    """
    if loaded.model.config.image_size is None:
        raise ConfigError(f"the architecture {loaded.architecture} reads texts: a measure of it has no image_size")
    try:
        return adapt(loaded, image_size=size)
    except ValueError as error:
        raise ConfigError(f"image_size {list(size)}: {error}") from None


def initial_model(config: RunConfig) -> LoadedModel:
    """The model of a run at step 0, with the data that it is going to be trained on as its provenance."""
    setup = table.setup(config, torch.device("cpu"))
    origin = {"name": setup.data_name, "path": config.data.path, "fingerprint": setup.fingerprint}
    return replace(setup.start, provenance={"data": {**origin, "config": asdict(config.data)}})


# ------------------------------------------------------------------------------------------------------- the measures


def take_evaluation(options: EvaluationOptions, predictor: Predictor, config: RunConfig, workers: int) -> Values:
    result = evaluate(
        predictor, options.data or config.data.path, split=options.split, batch_size=BATCH, workers=workers
    )
    end = "" if options.image_size is None else "_at_{}x{}".format(*options.image_size)
    end += f"_on_{Path(options.data).stem}" if options.data else ""
    start = "" if options.split == "auto" else f"{options.split}_"
    if not start + end:
        start = "evaluated_"
    return {f"{start}{name}{end}": float(value) for name, value in result.metrics.scalars().items()}


def take_attention_distance(
    options: AttentionDistanceOptions, predictor: Predictor, config: RunConfig, workers: int
) -> Values:
    images = open_images(predictor, config.data.path, limit=options.images, batch_size=BATCH, workers=workers)
    pixels = np.ma.masked_invalid(measure_attention_distance(predictor, images).pixels)  # [L, H]
    return {
        "attention_distance": by_layer(pixels.mean(axis=1)),
        "attention_distance_nearest_head": by_layer(pixels.min(axis=1)),
        "attention_distance_farthest_head": by_layer(pixels.max(axis=1)),
        "attention_distance_mean": float(pixels.mean()),
    }


def take_robustness(options: RobustnessOptions, predictor: Predictor, config: RunConfig, workers: int) -> Values:
    images = open_images(predictor, config.data.path, limit=options.images, batch_size=BATCH, workers=workers)
    result = robustness(predictor, images, corruptions=options.corruptions or None, seed=options.seed)
    return {
        "corrupted_error": result.mean_error,
        "clean_error": float(result.clean),
        "corrupted_error_by_severity": [float(error) for error in result.errors.mean(axis=0)],
        **{f"corrupted_error_{n}": float(row.mean()) for n, row in zip(result.corruptions, result.errors)},
    }


def take_calibration(_: CalibrationOptions, predictor: Predictor, config: RunConfig, workers: int) -> Values:
    path = config.data.path
    test = class_logits(predictor, path, "auto", BATCH, workers)
    if has_validation(predictor, path) and "val" not in test.parts:
        fit = class_logits(predictor, path, "val", BATCH, workers)
    else:
        fit, test = halves(test)
    result = calibration(fit.logits, fit.targets, test.logits, test.targets)
    return {
        "calibration_error": result.error, "calibration_error_after": result.error_after, "nll": result.nll,
        "nll_after": result.nll_after, "temperature": result.temperature,
    }  # fmt: skip


def take_head_importance(
    options: HeadImportanceOptions, predictor: Predictor, config: RunConfig, workers: int
) -> Values:
    images = open_images(predictor, config.data.path, limit=options.images, batch_size=BATCH, workers=workers)
    result = measure_importance(predictor, images)
    heads: dict[str, list[float]] = {}
    for part in result.parts:
        if part.head is not None:
            heads.setdefault(part.path, []).append(-part.selection)
    return {
        "head_importance": [float(np.mean(falls)) for falls in heads.values()],
        "head_importance_highest": [max(falls) for falls in heads.values()],
        "block_importance": [-part.selection for part in result.parts if part.head is None],
    }


def take_cost(options: CostOptions, predictor: Predictor, config: RunConfig, workers: int) -> Values:
    cost = measure_cost(predictor.model, options.image_size)
    values: Values = {
        "macs": float(cost.macs), "attention_macs": float(cost.attention_macs),
        "activation_mb": cost.activation_bytes / 1e6,
    }  # fmt: skip
    if predictor.device.type == "cpu" and predictor.reads_images:
        size = options.image_size or cast(tuple[int, int], predictor.model.config.image_size)
        values["cpu_ms"] = forward_cpu_milliseconds(predictor, size, options.batch_size)
    return values


def few_shot_data(options: FewShotOptions, config: RunConfig) -> tuple[DataSplits, ImageSource, ImageSource]:
    """The splits of the data of a few-shot measure, its training images, and those to measure on.

    Raises:
        ConfigError: there are no images to measure on, or too few of a class.
    """
    path = options.data or config.data.path
    splits = open_data(path) if options.data else open_data(path, config.data)
    train, held_out = cast(ImageSource, splits.train), splits.test or splits.val
    if held_out is None:
        raise ConfigError(f"{path} has neither test nor validation images to measure {options.shots} shots on")
    smallest = int(np.bincount(train.labels, minlength=len(splits.classes)).min())
    if smallest < options.shots:
        raise ConfigError(f"{path} has a class of {smallest} training images: too few for {options.shots} shots")
    return splits, train, cast(ImageSource, held_out)


def take_few_shot(options: FewShotOptions, predictor: Predictor, config: RunConfig, workers: int) -> Values:
    splits, *parts = few_shot_data(options, config)
    train, test = (extract(predictor, part, splits.fingerprint, batch_size=BATCH, workers=workers) for part in parts)
    accuracies = [
        few_shot_accuracy(*draw(train.values, train.labels, options.shots, seed), test.values, test.labels)
        for seed in options.seeds
    ]
    end = f"_on_{Path(options.data).stem}" if options.data else ""
    return {f"error_{options.shots}_shot{end}": 1 - float(np.mean(accuracies))}


def by_layer(values: np.ma.MaskedArray) -> list[float | None]:
    """One number for each layer; None where it is not defined."""
    return [None if value is np.ma.masked else float(value) for value in values]


TAKE: Mapping[str, Callable[[Any, Predictor, RunConfig, int], Values]] = {
    "evaluation": take_evaluation,
    "attention_distance": take_attention_distance,
    "robustness": take_robustness,
    "calibration": take_calibration,
    "head_importance": take_head_importance,
    "cost": take_cost,
    "few_shot": take_few_shot,
}
