"""Data, model and task of a multi-label run: images with several labels, a backbone with a logit for each."""

from typing import cast

import torch

from saccade.data.batch_augmentation import BatchAugmentation
from saccade.engine.backbones import starting_backbone
from saccade.engine.images import image_splits
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.models.zoo import architecture_of
from saccade.tasks import table
from saccade.tasks.multilabel.batches import with_targets
from saccade.tasks.multilabel.config import MultiLabelConfig
from saccade.tasks.multilabel.sources import MultiLabelSource, open_multilabel
from saccade.tasks.multilabel.task import MultiLabelTask, positive_weights
from saccade.training.config import RunConfig


def make_setup(config: RunConfig, device: torch.device) -> TrainingSetup:
    """Open images with labels and build a model with a logit for each label."""
    options = config.options
    assert isinstance(options, MultiLabelConfig)
    for option in ("mixup", "cutmix"):
        if getattr(config.augmentation, option):
            raise ConfigError(f"augmentation.{option} mixes images of one class each: set it to 0 for several labels")
    if not config.model.init:
        refuse_other_models(config.model.name)
    splits = open_multilabel(config.data.path, config.data)
    start = starting_backbone(config, splits.classes)
    assert start.preprocessing is not None
    images = image_splits(config, splits, start.preprocessing)
    train, val, test = with_targets((images.train, images.val, images.test))
    assert train is not None
    augmentation = BatchAugmentation(config.augmentation, start.preprocessing, len(splits.classes), config.seed)
    weights = None
    if options.class_weights == "balanced":
        weights = positive_weights(cast(MultiLabelSource, splits.train).targets, options.max_weight)
    task = MultiLabelTask(start.labels, label_smoothing=options.label_smoothing, positive_weights=weights)
    calibrate = task.calibrate if options.thresholds == "f1" else None
    return TrainingSetup(start, task, train, val, test, augmentation, splits, calibrate)


def refuse_other_models(name: str) -> None:
    """Raise ConfigError for a model that does not return one vector for each image."""
    architecture = architecture_of(name)
    for task in table.TASKS:
        if architecture in table.config_class(task).ARCHITECTURES:
            raise ConfigError(f"{name} is a model for {task}, not for labels: choose a backbone, such as vit_ti16")
