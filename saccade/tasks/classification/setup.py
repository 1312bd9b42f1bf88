"""Data, model and task of a classification run: a folder a class, a head with as many logits; with a teacher where
one is given."""

from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import as_classifier, is_pretrained
from saccade.data.batch_augmentation import BatchAugmentation
from saccade.data.image_folder import open_data
from saccade.data.samples import DataSplits
from saccade.data.seeding import RandomStream, mix_seed
from saccade.engine.images import fresh_preprocessing, image_splits
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.models.deit import DistilledViT
from saccade.models.zoo import architecture_of, config_of, create
from saccade.tasks import table
from saccade.tasks.classification.config import ClassificationConfig
from saccade.tasks.classification.distillation import DistillationTask, one_head
from saccade.tasks.classification.task import ClassificationTask
from saccade.tasks.classification.teacher import Teacher
from saccade.training.config import ModelConfig, RunConfig


def make_setup(config: RunConfig, device: torch.device, splits: DataSplits | None = None) -> TrainingSetup:
    """Open labelled images, unless `splits` are given, and build a classifier for them."""
    splits = open_data(config.data.path, config.data) if splits is None else splits
    start = starting_model(config, splits.classes)
    assert start.preprocessing is not None
    images = image_splits(config, splits, start.preprocessing)
    augmentation = BatchAugmentation(config.augmentation, start.preprocessing, len(splits.classes), config.seed)
    task = make_task(config, start, device)
    return TrainingSetup(start, task, images.train, images.val, images.test, augmentation, splits)


def make_task(config: RunConfig, start: LoadedModel, device: torch.device) -> ClassificationTask:
    """Classification, with a teacher where the config names one."""
    options = config.options
    assert isinstance(options, ClassificationConfig)
    distillation = options.distillation
    if not distillation.teacher:
        return ClassificationTask(start.labels, label_smoothing=options.label_smoothing)
    assert start.preprocessing is not None
    teacher = Teacher(distillation.teacher, start.labels, start.preprocessing, device)
    return DistillationTask(
        start.labels, teacher, kind=distillation.kind, alpha=distillation.alpha,
        temperature=distillation.temperature, label_smoothing=options.label_smoothing,
        heads=both_heads if isinstance(start.model, DistilledViT) else one_head,
    )  # fmt: skip


def both_heads(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of DeiT's class token and of its distillation token, ``[B, K]`` each."""
    return model(images, return_both_heads=True)


def starting_model(config: RunConfig, classes: tuple[str, ...]) -> LoadedModel:
    """The model at step 0: fresh, or a checkpoint with a head for these classes."""
    options = config.model
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    if options.init:
        loaded = load_model(options.init, image_size=options.image_size)
        if is_pretrained(loaded):
            loaded = as_classifier(loaded)
        changes = model_options(options, loaded.model.config)
        if loaded.preprocessing is None:
            raise ConfigError(f"{options.init} does not record how images are prepared for it")
        if loaded.labels != classes:  # also where only the names differ: a head has its own classes
            loaded = adapt(adapt(loaded, num_classes=0), num_classes=len(classes))
        loaded = adapt(loaded, options=changes)
        return replace(loaded, labels=classes)
    architecture = architecture_of(options.name)
    task = table.task_of(architecture)
    if task != config.task:
        raise ConfigError(f"{options.name} is a model for {task}, not for {config.task}: choose --task {task}")
    changes = model_options(options, config_of(options.name))
    model = create(options.name, num_classes=len(classes), image_size=options.image_size, options=changes)
    return LoadedModel(model, architecture, classes, fresh_preprocessing(model))


def model_options(options: ModelConfig, model_config: Any) -> dict[str, Any]:
    """The run's regularisation as fields of this model's config.

    Recipes set stochastic depth, which is left out for networks without it; dropout is refused there.
    """
    in_blocks = is_dataclass(getattr(model_config, "block", None))
    changes: dict[str, Any] = {"block.dropout" if in_blocks else "dropout": options.dropout} if options.dropout else {}
    if hasattr(model_config, "drop_path"):
        changes["drop_path"] = options.drop_path
    return {**changes, **options.options}
