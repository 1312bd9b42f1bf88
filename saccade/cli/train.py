"""`saccade train`: train a model, and write a model directory and a report."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from saccade.cli.terminal import printable, show
from saccade.errors import ConfigError
from saccade.tasks.table import data_layouts, summaries
from saccade.training.config import (
    CHANGEABLE,
    LENGTH,
    RunConfig,
    differences,
    explicit_values,
    file_values,
    list_recipes,
    parse_override,
    resolve,
    with_overrides,
)

AUTO = Path("auto")  # of --resume: continue if there is something to continue
RECIPE_HELP = f"Defaults to start from: {', '.join(list_recipes())}. Chosen for task, data and model by default."


@Parameter(name="*")
@dataclass(frozen=True)
class TrainOptions:
    """Options of the config that have a flag; --set sets all others."""

    task: Annotated[str | None, Parameter(help=f"What is predicted: {summaries()}.")] = None
    model: str | None = None
    """Model to train; `saccade models` lists them."""
    init: str | None = None
    """Checkpoint to start from: a run, a model directory, a published file or hub:ORG/NAME."""
    image_size: Annotated[tuple[int, int] | int | None, Parameter(negative="")] = None
    """Side of the images in pixels, or height and width (default: the model's own)."""
    epochs: int | None = None
    """Passes over the training data (default: the recipe's)."""
    steps: int | None = None
    """Number of optimizer steps, instead of epochs."""
    batch_size: int | None = None
    """Batch size of one optimizer step, over all processes."""
    lr: float | None = None
    """Learning rate after the warm-up (for a batch of `optimizer.lr_batch` if the recipe sets it)."""
    teacher: str | None = None
    """Teacher checkpoint with the same classes, for knowledge distillation."""
    sam: float | None = None
    """Radius of sharpness-aware minimisation, such as 0.05; each step then computes two gradients."""
    seed: int | None = None
    """Seed of all random numbers (default: 0)."""
    precision: Literal["auto", "float32", "bfloat16"] | None = None
    """Precision of matrix products: auto is bfloat16 on a GPU and float32 on a CPU."""
    workers: int | None = None
    """Processes that load data (default: from the measured times of loading an input and of a step)."""
    bad_images: Literal["stop", "skip"] | None = None
    """Whether a broken image stops the run or is replaced by the next one (default: stop)."""
    device: str | None = None
    """Device, such as cpu or cuda:1 (default: a GPU if there is one)."""
    activation_checkpointing: Annotated[bool, Parameter(negative="")] = False
    """Activation checkpointing: recompute each block in the backward pass. Less memory, about a third more time,
    bitwise the same result."""
    compile: Annotated[bool, Parameter(negative="")] = False
    """Compile the model (torch.compile), and print after how many steps this pays off."""
    shard: Annotated[bool, Parameter(negative="")] = False
    """Under torchrun: shard the model over the processes (FSDP2)."""
    track: Annotated[tuple[Literal["tensorboard", "mlflow", "wandb", "trackio"], ...], Parameter(negative="")] = ()
    """Experiment tracker that receives the run's metrics (default: none). May be repeated."""

    def overrides(self) -> dict[str, object]:
        """Dotted names of the config -> the values of the flags that were set."""
        size = (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size
        values = {
            "task": self.task,
            "model.name": self.model,
            "model.init": self.init,
            "model.image_size": None if size is None else list(size),
            "schedule.epochs": self.epochs,
            "schedule.steps": self.steps,
            "batch_size": self.batch_size,
            "optimizer.lr": self.lr,
            "distillation.teacher": self.teacher,
            "sam.rho": self.sam,
            "seed": self.seed,
            "precision": self.precision,
            "data.workers": self.workers,
            "data.bad_images": self.bad_images,
            "device": self.device,
            "activation_checkpointing": self.activation_checkpointing or None,
            "compile": self.compile or None,
            "shard": self.shard or None,
            "tracking.to": list(self.track) or None,
        }
        if self.epochs is not None and self.steps is not None:
            raise ConfigError("--epochs and --steps both set the length of a run: give one of them")
        overrides = {name: value for name, value in values.items() if value is not None}
        return overrides if self.epochs is None else {**overrides, "schedule.steps": None}  # those of a config give way


def train(
    data: Annotated[str | None, Parameter(help=f"Training data. {data_layouts()}")] = None,
    /,
    *,
    recipe: Annotated[str, Parameter(help=RECIPE_HELP)] = "",
    config: Path | None = None,
    output: Path | None = None,
    resume: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    options: TrainOptions | None = None,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    verbose: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a model and write its run directory with model and report.

    Without arguments: a ViT on scikit-learn's handwritten digits, in less than a minute.

    Parameters
    ----------
    config
        YAML file that overrides the recipe, such as the config.yaml of a run.
    output
        Folder of the run (default: runs/NAME, named after the data). An existing run is never overwritten.
    resume
        Resume this run, or without a value the last one on this data; with --epochs or --steps, train it longer. The
        value auto starts the run of --output, or continues it if it exists, for machines that restart.
    set
        Any option of the config, as KEY=VALUE: --set augmentation.mixup=0.8
    dry_run
        Check that data, model and config fit, print the resolved config and exit.
    verbose
        Also print details such as the precision of matrix products and the reason for it.
    """
    overrides = (options or TrainOptions()).overrides()
    return start_or_resume(data, recipe, config, output, resume, overrides, set, dry_run, verbose)


def start_or_resume(
    data: str | None, recipe: str, config: Path | None, output: Path | None, resume: list[Path] | None,
    overrides: dict[str, object], settings: Sequence[str], dry_run: bool, verbose: bool,
) -> int:  # fmt: skip
    """Start or resume a run with the options of a training command; returns the exit code."""
    overrides = overrides | dict(parse_override(text) for text in settings)
    if data is not None:
        overrides["data.path"] = data
    if resume == [AUTO]:
        resume = _existing_run(output, resolve(recipe, file=config, overrides=overrides))
        if resume is not None:
            values = (
                ({} if config is None else file_values(config)) | ({"recipe": recipe} if recipe else {}) | overrides
            )
            return _resume(resume[0], values, verbose, restart=True)
    if resume is None:
        resolved = resolve(recipe, file=config, overrides=overrides)
        explicit = explicit_values(config, overrides)
        if dry_run:
            return _dry_run(resolved, explicit)
        return _run(resolved, output, None, verbose, explicit)
    if recipe or config or output:
        raise ConfigError("--resume continues a run with its own config: it takes no --recipe, --config or --output")
    if len(resume) > 1:
        raise ConfigError(f"--resume takes one run, not {len(resume)}")
    return _resume(resume[0] if resume else None, overrides, verbose)


def _existing_run(output: Path | None, config: RunConfig) -> list[Path] | None:
    """The run that `--resume auto` continues; None if there is none yet."""
    from saccade.training.run_directory import RunDirectory

    if output is not None:
        return [output] if (output / "config.yaml").is_file() else None
    try:
        return [RunDirectory.latest(config).path]
    except ConfigError:
        return None


def _resume(path: Path | None, overrides: dict[str, object], verbose: bool, *, restart: bool = False) -> int:
    announce(f"resuming {path or 'the last run'}")
    from saccade.training.run_directory import RunDirectory

    run = RunDirectory.latest(resolve(overrides=overrides)) if path is None else RunDirectory.existing(path)
    config = run.config()
    length = {name: overrides[name] for name in LENGTH if name in overrides}
    others = {name: value for name, value in overrides.items() if name not in LENGTH}
    changed = [
        text for text in differences(config, with_overrides(config, others)) if text.partition(":")[0] not in CHANGEABLE
    ]
    if changed:
        raise ConfigError(
            f"{run.path} was started with another config ({', '.join(changed)}): a resumed run keeps its own, but for "
            f"--epochs or --steps, which train it longer, and {', '.join(CHANGEABLE)}"
        )
    config = with_overrides(config, {name: value for name, value in others.items() if name in CHANGEABLE})
    if restart and run.is_finished and with_overrides(config, length) == config:
        announce(f"{run.path} is finished: nothing to do")
        return 0
    if length:
        config = with_overrides(config, {"schedule.steps": None, **length})
    return _run(config, None, run.path, verbose)


def announce(text: str) -> None:
    """Print the first line of a command before PyTorch is imported, which takes seconds."""
    if int(os.environ.get("RANK", "0")) == 0:
        print(text, file=sys.stderr, flush=True)


def summary(config: RunConfig) -> str:
    """A run in one line, such as "vit_digits on digits: 40 epochs, recipe digits, seed 0"."""
    model, schedule = config.model.init or config.model.name, config.schedule
    count, unit = (schedule.steps, "step") if schedule.steps else (schedule.epochs, "epoch")
    length = f"{count} {unit}" + "s" * (count != 1)
    return f"{model} on {config.data.path}: {length}, recipe {config.recipe}, seed {config.seed}"


def _dry_run(config: RunConfig, explicit: set[str]) -> int:
    """Print the config as the run would store it; raise an error if it cannot run."""
    from saccade.runs import fitted_config, plan_task

    config, lines = fitted_config(config, explicit)
    for line in lines:
        announce(line)
    plan_task(config)
    show(config.to_yaml().rstrip())
    return 0


def _run(
    config: RunConfig, output: Path | None, resume: Path | None, verbose: bool, explicit: set[str] | None = None
) -> int:
    if resume is None:
        announce(f"training {summary(config)}")
    from saccade.cli.progress import RunDisplay
    from saccade.runs import fitted_config, train_task
    from saccade.tasks import table
    from saccade.training.resources import memory_line
    from saccade.training.run_directory import RunDirectory

    if explicit is not None:
        config, lines = fitted_config(config, explicit)
        for line in lines:
            announce(line)
    run = None if resume is None else RunDirectory.existing(resume)
    with RunDisplay(verbose=verbose) as display:
        result = train_task(config, run, output=output, resume=resume is not None, on_event=display)
    if int(os.environ.get("RANK", "0")) != 0:
        return 128 + result.stopped_by if result.stopped_by else 0
    path = result.run.path
    if result.stopped_by:
        show(f"stopped; saved at the end of the step. Resume with: saccade train --resume {shlex.quote(str(path))}")
        return 128 + result.stopped_by
    if result.metrics is not None:
        show(f"{result.split}: {printable(result.metrics)}")
    total = sum(result.phase_seconds.values()) or 1.0
    ordered = sorted(result.phase_seconds.items(), key=lambda item: -item[1])
    print("time: " + ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in ordered))
    memory = memory_line(result.memory, result.predicted_memory)
    show(f"waited for data {result.data_wait:.1%} of the time; peak memory {memory}")
    show(f"trained in {result.seconds:.1f} s; model {path / 'model'}, report {path / 'report.html'}")
    show("next: " + "\n      ".join(table.room(config.task).next_steps(path, config)))
    return 0
