"""Train and report: the loop, then the report and the model card of the run.

saccade.train(setup, config)        # your own model and data set
train_task(config)                  # what `saccade train` does
"""

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from saccade.analysis.attention_distance import AttentionDistance, measure_attention_distance
from saccade.analysis.inputs import split_images
from saccade.analysis.patch_filters import patch_filters
from saccade.analysis.position_similarity import position_similarity
from saccade.checkpoints.atomic import write_atomic
from saccade.checkpoints.loading import load_model
from saccade.data.check import source_channels
from saccade.data.images import size_of
from saccade.data.samples import ImageSource, Source
from saccade.engine.predictor import Predictor
from saccade.engine.report import BUDGET, ReportSection
from saccade.engine.room import command
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError, ImageError, RecordingError
from saccade.files import read_text
from saccade.json_io import read_json_file
from saccade.models.catalogue import ZOO
from saccade.models.zoo import architecture_of, config_of
from saccade.nn.attention import Attention
from saccade.reporting.inside import inside_section
from saccade.reporting.model_card import model_card
from saccade.reporting.report import Report, render_report
from saccade.tasks import table
from saccade.tasks.loading import load
from saccade.training.config import BUILT_IN, RunConfig
from saccade.training.distributed import joined_processes
from saccade.training.events import Event
from saccade.training.fit import DataSize, fit_to_data
from saccade.training.loop import train as run_loop
from saccade.training.plan import TrainingPlan, plan_run
from saccade.training.result import RunResult
from saccade.training.run_directory import RunDirectory

DISTANCE_IMAGES = 16
# (split of the metrics, `select` of the run) -> the note above them
NOTES = {
    ("test", "best"): "Measured once on {} {} of the test split, which this run did not use for any decision.",
    ("test", "last"): "Measured once on {} {} of the test split, which this run did not use for any decision.",
    ("val", "best"): "Measured on {} {} of the validation split, which also selected the best weights.",
    ("val", "last"): "Measured on {} {} of the validation split, which this run did not use for any decision.",
}
# Fields of a model's config that its name leaves open.
NOT_IN_NAME = ("num_classes", "image_size", "in_channels", "drop_path")
SIZED_IMAGES = 32  # training images whose size is looked at
log = logging.getLogger("saccade")


def train(
    setup: TrainingSetup,
    config: RunConfig,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> RunResult:
    """Train your own model on your own data, with the same loop, including resume, several processes and the report.

    Args:
        setup: data, model and task.
        config: config of the run; `config.options` is None for a task without a row in the table.
        output: the run's folder; under `runs/` by default.
        resume: continue the run in `output` from its last complete checkpoint.
        on_event: called with every event, in the first process.

    Raises:
        DataError, ConfigError, CheckpointError: data, config or checkpoint do not fit; nothing was computed.
        TrainingError: the loss became NaN or infinite, or the disk is full; the run can be resumed.
    """
    run = None
    if resume:
        if output is None:
            raise ConfigError("`resume=True` needs `output`, the run to continue")
        run = RunDirectory.existing(output)
    result = run_loop(config, lambda config, device: setup, run, output=output, resume=resume, on_event=on_event)
    if result.finished and result.is_first:
        write_report(result.run)
    return result


def train_task(
    config: RunConfig,
    run: RunDirectory | None = None,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> RunResult:
    """Train a model as a config describes, for a task of the table; arguments as for
    :func:`saccade.training.loop.train`."""
    result = run_loop(config, table.setup, run, output=output, resume=resume, on_event=on_event)
    if result.finished and result.is_first:
        write_task_report(result.run)
    return result


def fitted_config(config: RunConfig, explicit: Collection[str]) -> tuple[RunConfig, list[str]]:
    """A config whose batch size, epochs, model and image size are derived from the data if they are not given, and
    lines that describe these choices. Built-in data sets have their own recipes, which are not changed.

    Args:
        config: resolved config.
        explicit: dotted names of the values that the user gave: :func:`saccade.training.config.explicit_values`.
    """
    if config.model.init and not table.config_class(config.task).ARCHITECTURES:
        config = replace(config, model=replace(config.model, name=initial_name(config, explicit)))
    if config.data.path in BUILT_IN:
        return config, []
    splits = table.room(config.task).open_data(config.data.path, config.data)
    train = splits.train
    sides: list[int] = []
    channels = config.model.in_channels or source_channels(train)
    if hasattr(train, "image"):
        for index in range(0, len(train), max(1, len(train) // SIZED_IMAGES)):
            with suppress(ImageError):
                sides.append(max(size_of(cast(ImageSource, train).image(index, channels))))
    config, lines = without_colours(config, explicit, channels)
    count = min(config.data.train_size or len(train), len(train))
    config, more = fit_to_data(config, explicit, DataSize(count, sides, len(splits.classes)))
    return config, lines + more


def without_colours(config: RunConfig, explicit: Collection[str], channels: int) -> tuple[RunConfig, list[str]]:
    """The config without a recipe's colour augmentation if images are neither grey nor RGB, and a line that states
    this; options given by the user stay, and are refused later."""
    names = [name for name in ("randaugment", "color_jitter") if getattr(config.augmentation, name)]
    names = [name for name in names if f"augmentation.{name}" not in explicit]
    if channels in (1, 3) or not names:
        return config, []
    off = {"randaugment": "", "color_jitter": 0.0}
    changed = replace(config.augmentation, **{name: off[name] for name in names})
    line = f"no {' and '.join(names)}: they change the colours of pictures, and the images have {channels} channels"
    return replace(config, augmentation=changed), [line]


def initial_name(config: RunConfig, explicit: Collection[str]) -> str:
    """The name of the model in the checkpoint that a backbone starts from; "" if its config has no name.

    Raises:
        ConfigError: `model.name` is given and is another architecture.
    """
    source = load_model(config.model.init)
    architecture = source.architecture
    if "model.name" in explicit:
        if config.model.name and architecture_of(config.model.name) != architecture:
            raise ConfigError(
                f"{config.model.init} is a {architecture}, and {config.model.name} is a "
                f"{architecture_of(config.model.name)}: give --model or --init, or two of the same architecture"
            )
        return config.model.name

    def size_free(values: dict) -> dict:
        return {key: value for key, value in values.items() if key not in NOT_IN_NAME}

    own = size_free(source.model.config.to_dict())
    names = (name for name in ZOO if architecture_of(name) == architecture)
    return next((name for name in names if size_free(config_of(name).to_dict()) == own), "")


def plan_task(config: RunConfig) -> TrainingPlan:
    """Data, model and order of the steps of a run, without training; raises the errors that :func:`train_task` raises
    before its first step."""
    with joined_processes(config.device) as processes:
        return plan_run(config, table.setup(config, processes.device), processes)


def write_report(run: RunDirectory) -> Path:
    """Write `report.html` of a run with your own task: the curves, the time, the config."""
    config = read_text(run.path / "config.yaml")
    report = Report(title=run.path.name, rows=run.metrics(), config=config, environment=run.environment())
    write_atomic(run.report, render_report(report).encode())
    return run.report


def write_task_report(run: RunDirectory) -> Path:
    """Write `report.html` and the model card of a finished run of a task of the table."""
    config = run.config()
    room, task_report = table.room(config.task), table.report(config.task)
    predictor = load(run.model)
    provenance = predictor.source.provenance
    splits = room.open_data(config.data.path, config.data, predictor.source)
    path = run.path / "predictions.json"
    section: ReportSection | None = None
    note = ""
    if path.is_file():
        stored = read_json_file(path)
        section = task_report.section(predictor, splits, stored)
        note = NOTES[stored["split"], config.select].format(section.metrics.count, room.inputs)
    source = splits.test or splits.val or splits.train
    inside = inside_section(
        position_similarity(predictor.model),
        patch_filters(predictor.model),
        _distance(predictor, source),
    )
    run_tiles = {
        "training": f"{provenance['seconds']:.0f} s",
        room.inputs: f"{config.data.train_size or len(splits.train):,}",
        "parameters": f"{sum(p.numel() for p in predictor.model.parameters()):,}",
    }
    report = Report(
        title=f"{config.model.name or predictor.source.architecture} on {splits.name}",
        note=note,
        tiles={**(section.tiles if section else {}), **run_tiles},
        rows=run.metrics(),
        sections=[*([section.html] if section else []), inside],
        phase_seconds=provenance["time_shares"],
        config=config.to_yaml(),
        environment=run.environment(),
        command=command("saccade", "train", "--config", run.path / "config.yaml"),
    )
    write_atomic(run.report, render_report(report).encode())
    card = model_card(
        name=run.path.name,
        architecture=predictor.source.architecture,
        labels=predictor.labels,
        provenance=provenance,
        preprocessing=describe_inputs(predictor),
        metrics=section.metrics if section else None,
        card=room.card(),
    )
    write_atomic(run.model / "README.md", card.encode())
    return run.report


def describe_inputs(predictor: Predictor) -> str:
    """Preprocessing of a model's inputs, in words for the card."""
    if predictor.reads_images:
        return predictor.preprocess.describe()
    config = predictor.model.config
    return f"texts over a vocabulary of {config.vocab_size} tokens, up to {config.context_length} each"


def _distance(predictor: Predictor, source: Source) -> AttentionDistance | None:
    """Attention distance of each head, over some images; None for a model without attention over an image alone."""
    attends = any(isinstance(module, Attention) for module in predictor.model.modules())
    if not attends or not predictor.reads_images:
        return None
    try:
        images = split_images(predictor, source, limit=DISTANCE_IMAGES)
        return measure_attention_distance(predictor, images, budget=BUDGET)
    except (RecordingError, ConfigError) as error:
        log.info("the report shows no attention distance: %s", error)
        return None
