"""Defaults that depend on the size of a data set: batch size, epochs, model and image size.

The result is plain numbers in the config, which are written to `config.yaml`: a run with that file is the same run.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from saccade.tasks import table
from saccade.training.config import ModelConfig, RunConfig

BATCHES = 8  # in an epoch of a small data set, at least
SMALLEST_BATCH = 8
FEW = 0.25  # fraction of the steps that a task needs, below which a run is called too short
INIT_STEPS = 0.2  # fraction of the steps of fresh weights that trained weights need
SMALL_MODEL, SMALL_PATCH, SMALL_SIDE = "vit_lite7_4", 4, 48  # for images of up to so many pixels a side
PATCH = 16  # of the model of the recipes
PATCHED_SIDE = 112  # images of up to so many pixels a side keep their size with that model


@dataclass(frozen=True)
class DataSize:
    """Size of the training data.

    Attributes:
        images: number of images or texts in the training split.
        sides: longest side in pixels of some training images; () for texts.
        classes: number of classes.
    """

    images: int
    sides: Sequence[int] = ()
    classes: int = 0


def fit_to_data(config: RunConfig, explicit: Collection[str], size: DataSize) -> tuple[RunConfig, list[str]]:
    """A config for data of this size, and a line for each kind of change.

    Args:
        config: config resolved from a recipe and the user's values.
        explicit: dotted names of the values set by the user, which are not changed.
        size: size of the data.

    Returns:
        the config; lines on the values derived from the data, and on a run that is too short.
    """
    changes = []
    if "model.name" not in explicit and not config.model.init and "model.image_size" not in explicit:
        model = _model_for(config, size)
        if model is not None:
            config = replace(config, model=model)
            assert model.image_size is not None
            changes.append(f"{model.name} at {model.image_size[0]} x {model.image_size[1]}")
    if "batch_size" not in explicit and config.accumulation == 1:
        batch = batch_for(size.images, config.batch_size)
        if batch != config.batch_size:
            config = replace(config, batch_size=batch)
            changes.append(f"batch {batch}")
    per_epoch = max(1, size.images // config.batch_size)
    needed = table.config_class(config.task).STEPS
    if config.model.init:
        needed = max(1, round(INIT_STEPS * needed))
    schedule = config.schedule
    if not {"schedule.epochs", "schedule.steps"} & set(explicit) and schedule.steps is None:
        epochs = math.ceil(needed / per_epoch)
        if epochs > schedule.epochs:
            config = replace(config, schedule=replace(schedule, epochs=epochs))
            changes.append(f"{epochs} epochs ({epochs * per_epoch} steps)")
    lines = [f"{', '.join(changes)}: after the {size.images} training inputs"] if changes else []
    total = config.schedule.steps or config.schedule.epochs * per_epoch
    if total < FEW * needed:
        enough = math.ceil(needed / per_epoch)
        lines.append(
            f"warning: {total} {'step is' if total == 1 else 'steps are'} too few to learn much; {config.task} "
            f"{'from trained' if config.model.init else 'with fresh'} weights needs some {needed}: --epochs {enough}"
        )
    return config, lines


def batch_for(images: int, largest: int) -> int:
    """A power of two with which an epoch has eight batches, from 8 to `largest`, and at most the number of images."""
    batch = max(SMALLEST_BATCH, 2 ** int(math.log2(max(images // BATCHES, 1))))
    return min(largest, batch, 2 ** int(math.log2(max(images, 1))))


def _model_for(config: RunConfig, size: DataSize) -> ModelConfig | None:
    """The recipe's ViT at the size of small images, or a small ViT for very small ones; None for no change."""
    if not size.sides or config.model.name != "vit_ti16" or config.model.image_size is not None:
        return None
    side = sorted(size.sides)[len(size.sides) // 2]
    if side <= SMALL_SIDE:
        edge = max(2, math.ceil(side / SMALL_PATCH)) * SMALL_PATCH
        return replace(config.model, name=SMALL_MODEL, image_size=(edge, edge))
    if side <= PATCHED_SIDE:
        edge = math.ceil(side / PATCH) * PATCH
        return replace(config.model, image_size=(edge, edge))
    return None
