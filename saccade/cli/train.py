"""`saccade train`: from images to a model directory and a report."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from saccade.errors import ConfigError
from saccade.tasks.table import TASKS
from saccade.training.config import RunConfig, differences, parse_override, resolve, with_overrides

TASK_HELP = "; ".join(f"{name}, {row.summary}" for name, row in TASKS.items())


@Parameter(name="*")
@dataclass(frozen=True)
class TrainOptions:
    """What the command line can say; anything else goes by --set."""

    task: Annotated[str | None, Parameter(help=f"What is learned: {TASK_HELP}.")] = None
    model: str | None = None
    """Which model to train; `saccade models` lists them."""
    init: str | None = None
    """Checkpoint to start from: a run, a model directory, a published file."""
    image_size: Annotated[tuple[int, int] | int | None, Parameter(negative="")] = None
    """Side in pixels, or height and width."""
    epochs: int | None = None
    """Passes over the images."""
    steps: int | None = None
    """Optimizer steps, instead of epochs."""
    batch_size: int | None = None
    """Images of one step, over all processes."""
    lr: float | None = None
    """Learning rate at the top of the schedule."""
    teacher: str | None = None
    """Checkpoint that knows the classes, to learn from beside the labels."""
    sam: float | None = None
    """Radius of sharpness-aware minimisation, such as 0.05; each step then takes two gradients."""
    seed: int | None = None
    """Of everything random."""
    precision: Literal["auto", "float32", "bfloat16"] | None = None
    """Of the products; auto takes bfloat16 on a GPU."""
    workers: int | None = None
    """Processes that load images."""
    bad_images: Literal["stop", "skip"] | None = None
    """What a broken image does to the run."""
    device: str | None = None
    """Such as cpu or cuda:1."""
    shard: Annotated[bool, Parameter(negative="")] = False
    """Under torchrun: each process holds a part of the model (FSDP2)."""

    def overrides(self) -> dict[str, object]:
        """Dotted names of the config -> what was given."""
        size = (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size
        given = {
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
            "shard": self.shard or None,
        }
        return {name: value for name, value in given.items() if value is not None}


def train(
    data: str | None = None,
    /,
    *,
    recipe: str = "",
    config: Path | None = None,
    output: Path | None = None,
    resume: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    options: TrainOptions | None = None,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a model on images and write it with its report.

    Without arguments: a ViT on scikit-learn's handwritten digits, in less than a minute.

    Parameters
    ----------
    data
        A folder with one folder a class (with train/, val/, test/ or split by seed), a CSV of file,label, a zip, tar
        shards, or "digits". With --task detect: a folder in the layout of COCO, Pascal VOC or YOLO, or "scenes".
        With --task contrast: a CSV or JSONL of image,caption, tar shards, or "scenes". With --task translate: a TSV,
        CSV or JSONL of source,target, or "numbers"; with --recipe strips images and captions, or "strips".
    recipe
        What to start from: digits, scratch, cifar, finetune, deit, sam, detect, depth, segment, contrast, translate or
        strips.
    config
        A YAML file over the recipe, such as the config.yaml of a run.
    output
        The run's folder; runs/NAME after the data unless given.
    resume
        Go on with this run, or with the last one of the data's name.
    set
        Any option of the config, as KEY=VALUE: --set augmentation.mixup=0.8
    dry_run
        Print the resolved config and stop.
    """
    overrides = (options or TrainOptions()).overrides()
    return start_or_resume(data, recipe, config, output, resume, overrides, set, dry_run)


def start_or_resume(
    data: str | None, recipe: str, config: Path | None, output: Path | None, resume: list[Path] | None,
    overrides: dict[str, object], settings: Sequence[str], dry_run: bool,
) -> int:  # fmt: skip
    """Run what the options of a training command say; returns the exit code."""
    overrides = overrides | dict(parse_override(text) for text in settings)
    if data is not None:
        overrides["data.path"] = data
    if resume is None:
        resolved = resolve(recipe, file=config, overrides=overrides)
        if dry_run:
            print(resolved.to_yaml(), end="")
            return 0
        return _run(resolved, output, None)
    if recipe or config or output:
        raise ConfigError("--resume goes on with a run as it is: it takes no --recipe, --config or --output")
    if len(resume) > 1:
        raise ConfigError(f"--resume takes one run, not {len(resume)}")
    return _resume(resume[0] if resume else None, overrides)


def _resume(path: Path | None, overrides: dict[str, object]) -> int:
    announce(f"resuming {path or 'the last run'}")
    from saccade.training.run_directory import RunDirectory

    run = RunDirectory.latest(resolve(overrides=overrides)) if path is None else RunDirectory.existing(path)
    stored = run.config()
    changed = differences(stored, with_overrides(stored, overrides))
    if changed:
        raise ConfigError(f"{run.path} was begun otherwise ({', '.join(changed)}): a resumed run stays what it is")
    return _run(stored, None, run.path)


def announce(text: str) -> None:
    """Print the first line of a command, before PyTorch is imported: that takes seconds."""
    if int(os.environ.get("RANK", "0")) == 0:
        print(text, file=sys.stderr, flush=True)


def summary(config: RunConfig) -> str:
    """A run in one line, such as "vit_digits on digits: 40 epochs, recipe digits, seed 0"."""
    model, schedule = config.model.init or config.model.name, config.schedule
    length = f"{schedule.steps} steps" if schedule.steps else f"{schedule.epochs} epochs"
    return f"{model} on {config.data.path}: {length}, recipe {config.recipe}, seed {config.seed}"


def _run(config: RunConfig, output: Path | None, resume: Path | None) -> int:
    if resume is None:
        announce(f"training {summary(config)}")
    from saccade.cli.progress import RunDisplay
    from saccade.runs import train_task
    from saccade.tasks import table
    from saccade.training.run_directory import RunDirectory

    run = None if resume is None else RunDirectory.existing(resume)
    with RunDisplay() as display:
        result = train_task(config, run, output=output, resume=resume is not None, on_event=display)
    if int(os.environ.get("RANK", "0")) != 0:
        return 128 + result.stopped_by if result.stopped_by else 0
    path = result.run.path
    if result.stopped_by:
        print(f"stopped; saved at the end of the step. Resume with: saccade train --resume {path}")
        return 128 + result.stopped_by
    if result.metrics is not None:
        print(f"{result.split}: {result.metrics}")
    total = sum(result.shares.values()) or 1.0
    ordered = sorted(result.shares.items(), key=lambda item: -item[1])
    print("time: " + ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in ordered))
    print(f"trained in {result.seconds:.1f} s; model {path / 'model'}, report {path / 'report.html'}")
    print("next: " + "\n      ".join(table.room(config.task).next_steps(path, config)))
    return 0
