"""Data, model and task of a classification run: a folder per class, a head with as many logits; and a teacher if there
is one."""

import torch
from torch import Tensor, nn

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batch_augmentation import BatchAugmentation
from saccade.data.image_folder import open_data
from saccade.data.samples import DataSplits
from saccade.engine.backbones import starting_backbone
from saccade.engine.images import image_splits
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.models.deit import DistilledViT
from saccade.models.zoo import architecture_of
from saccade.tasks import table
from saccade.tasks.classification.config import ClassificationConfig
from saccade.tasks.classification.distillation import DistillationTask, one_head
from saccade.tasks.classification.task import ClassificationTask, balanced_weights
from saccade.tasks.classification.teacher import Teacher
from saccade.training.config import RunConfig


def make_setup(config: RunConfig, device: torch.device, splits: DataSplits | None = None) -> TrainingSetup:
    """Open labelled images, unless `splits` are given, and build a classifier for them."""
    splits = open_data(config.data.path, config.data) if splits is None else splits
    start = starting_model(config, splits.classes)
    assert start.preprocessing is not None
    images = image_splits(config, splits, start.preprocessing)
    augmentation = BatchAugmentation(config.augmentation, start.preprocessing, len(splits.classes), config.seed)
    task = make_task(config, start, device, class_weights(config, splits))
    return TrainingSetup(start, task, images.train, images.val, images.test, augmentation, splits)


def class_weights(config: RunConfig, splits: DataSplits) -> Tensor | None:
    """Weight of each class in the loss; None for equal weights.

    Raises:
        ConfigError: classes are balanced twice, by weights and by sampling.
    """
    options = config.options
    assert isinstance(options, ClassificationConfig)
    if options.class_weights == "none":
        return None
    if config.data.sampling == "balanced":
        raise ConfigError(
            "class_weights=balanced and data.sampling=balanced each compensate for small classes, and together count "
            "them twice: set one of them"
        )
    return balanced_weights(torch.from_numpy(splits.train.labels), len(splits.classes))


def make_task(
    config: RunConfig, start: LoadedModel, device: torch.device, weights: Tensor | None = None
) -> ClassificationTask:
    """Classification, with a teacher if the config has one, and with class weights ``[K]``."""
    options = config.options
    assert isinstance(options, ClassificationConfig)
    distillation = options.distillation
    if not distillation.teacher:
        return ClassificationTask(start.labels, label_smoothing=options.label_smoothing, class_weights=weights)
    assert start.preprocessing is not None
    teacher = Teacher(distillation.teacher, start.labels, start.preprocessing, device)
    return DistillationTask(
        start.labels, teacher, kind=distillation.kind, alpha=distillation.alpha,
        temperature=distillation.temperature, label_smoothing=options.label_smoothing,
        class_weights=weights, heads=both_heads if isinstance(start.model, DistilledViT) else one_head,
    )  # fmt: skip


def both_heads(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of DeiT's class token and of its distillation token, ``[B, K]`` each."""
    return model(images, return_both_heads=True)


def starting_model(config: RunConfig, classes: tuple[str, ...]) -> LoadedModel:
    """The model at step 0: fresh, or a checkpoint with a head for these classes."""
    if not config.model.init:
        task = table.task_of(architecture_of(config.model.name))
        if task != config.task:
            raise ConfigError(f"{config.model.name} is a model for {task}, not for {config.task}: choose --task {task}")
    return starting_backbone(config, classes)
