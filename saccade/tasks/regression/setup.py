"""Data, model and task of a regression run: images with a number each, a backbone with one output."""

from dataclasses import replace
from typing import cast

import torch

from saccade.data.batch_augmentation import BatchAugmentation
from saccade.engine.backbones import starting_backbone
from saccade.engine.images import image_splits
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.models.zoo import architecture_of
from saccade.tasks import table
from saccade.tasks.regression.batches import ValueScale, with_values
from saccade.tasks.regression.config import RegressionConfig
from saccade.tasks.regression.sources import ValueSource, open_values
from saccade.tasks.regression.task import RegressionTask
from saccade.training.config import RunConfig


def make_setup(config: RunConfig, device: torch.device) -> TrainingSetup:
    """Open images with values and build a model of one output for them."""
    assert isinstance(config.options, RegressionConfig)
    for option in ("mixup", "cutmix"):
        if getattr(config.augmentation, option):
            raise ConfigError(f"augmentation.{option} mixes classes, and regression has none: set it to 0")
    if not config.model.init:
        refuse_other_models(config.model.name)
    splits = open_values(config.data.path, config.data)
    train = cast(ValueSource, splits.train)
    scale = ValueScale.of(train)
    start = replace(starting_backbone(config, (train.value_name,)), task_state=scale.to_dict())
    assert start.preprocessing is not None
    images = image_splits(config, splits, start.preprocessing)
    train_values, val, test = with_values((images.train, images.val, images.test), scale)
    assert train_values is not None
    augmentation = BatchAugmentation(config.augmentation, start.preprocessing, 1, config.seed)
    task = RegressionTask(start.labels, scale, config.options)
    return TrainingSetup(start, task, train_values, val, test, augmentation, splits)


def refuse_other_models(name: str) -> None:
    """Raise ConfigError for a model that does not return one vector for each image."""
    architecture = architecture_of(name)
    for task in table.TASKS:
        if architecture in table.config_class(task).ARCHITECTURES:
            raise ConfigError(f"{name} is a model for {task}, not for regression: choose a backbone, such as vit_ti16")
