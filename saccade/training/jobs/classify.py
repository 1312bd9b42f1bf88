"""Which class does an image show: a folder a class, a head with as many logits; with a teacher where one is named."""

from dataclasses import is_dataclass, replace
from typing import Any

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import as_classifier, is_pretrained
from saccade.data.batch_augmentation import BatchAugmentation
from saccade.data.image_folder import open_data
from saccade.data.samples import DataSplits
from saccade.data.seeding import RandomStream, mix_seed
from saccade.errors import ConfigError
from saccade.models.deit import DistilledViT
from saccade.models.zoo import architecture_of, config_of, create
from saccade.tasks.classification import ClassificationTask
from saccade.tasks.distillation import DistillationTask
from saccade.training.config import ModelConfig, RunConfig
from saccade.training.distributed import Processes
from saccade.training.jobs.images import fresh_preprocessing, prepared_splits
from saccade.training.jobs.job import Job
from saccade.training.teacher import Teacher


def prepare(config: RunConfig, processes: Processes) -> Job:
    """Open labelled images and build a classifier for them."""
    splits = open_splits(config)
    start = starting_model(config, splits)
    assert start.preprocessing is not None
    images = prepared_splits(config, splits, start.preprocessing)
    augmentation = BatchAugmentation(config.augmentation, start.preprocessing, len(splits.classes), config.seed)
    task = make_task(config, start, processes.device)
    return Job(splits, start, task, images.train, images.val, images.test, augmentation)


def open_splits(config: RunConfig) -> DataSplits:
    return open_data(config.data.path, config.data)


def make_task(config: RunConfig, start: LoadedModel, device: torch.device) -> ClassificationTask:
    """Classification, with a teacher where the config names one."""
    wanted = config.distillation
    if not wanted.teacher:
        return ClassificationTask(start.labels, label_smoothing=config.label_smoothing)
    assert start.preprocessing is not None
    teacher = Teacher(wanted.teacher, start.labels, start.preprocessing, device)
    if isinstance(start.model, DistilledViT):
        start.model.apart = True
    return DistillationTask(
        start.labels, teacher, kind=wanted.kind, alpha=wanted.alpha, temperature=wanted.temperature,
        label_smoothing=config.label_smoothing,
    )  # fmt: skip


def starting_model(config: RunConfig, splits: DataSplits) -> LoadedModel:
    """The model at step 0: fresh, or a checkpoint with a head for these classes."""
    wanted, classes = config.model, splits.classes
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    if wanted.init:
        loaded = load_model(wanted.init, image_size=wanted.image_size)
        if is_pretrained(loaded):
            loaded = as_classifier(loaded)
        options = model_options(wanted, loaded.model.config)
        if loaded.preprocessing is None:
            raise ConfigError(f"{wanted.init} does not say how images are prepared for it")
        if loaded.labels != classes:  # also where only the names differ: a head knows its own classes
            loaded = adapt(adapt(loaded, num_classes=0), num_classes=len(classes))
        loaded = adapt(loaded, options=options)
        return replace(loaded, labels=classes)
    architecture = architecture_of(wanted.name)
    if architecture in ("mae", "masked_vit"):
        raise ConfigError(f"{wanted.name} learns from images without labels: saccade pretrain --model {wanted.name}")
    options = model_options(wanted, config_of(wanted.name))
    model = create(wanted.name, num_classes=len(classes), image_size=wanted.image_size, options=options)
    return LoadedModel(model, architecture, classes, fresh_preprocessing(model))


def model_options(wanted: ModelConfig, model_config: Any) -> dict[str, Any]:
    """The run's regularisation as fields of this model's config; what a model does not have must not be asked for.

    The recipes ask for stochastic depth, which networks without it leave out.
    """
    in_blocks = is_dataclass(getattr(model_config, "block", None))
    options: dict[str, Any] = {"block.dropout" if in_blocks else "dropout": wanted.dropout} if wanted.dropout else {}
    if hasattr(model_config, "drop_path"):
        options["drop_path"] = wanted.drop_path
    return {**options, **wanted.options}
