"""Data, model and task of a run that predicts a value for every pixel: images with maps, and a DPT."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import with_backbone
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import DataSplits, Source
from saccade.data.seeding import RandomStream, mix_seed
from saccade.engine.images import fresh_preprocessing
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.errors import ConfigError
from saccade.models.dpt import DPT
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.dense.batches import DenseDataset, DenseTransform
from saccade.tasks.dense.config import DepthConfig, SegmentationConfig
from saccade.tasks.dense.depth import DepthTask
from saccade.tasks.dense.segmentation import SegmentationTask
from saccade.tasks.dense.sources import DenseSource, open_dense
from saccade.training.config import RunConfig

DEPTH_HEAD = {"head": "depth", "auxiliary": False}
SEGMENTATION_HEAD = {"head": "segmentation", "batch_norm": True, "auxiliary": True}


def depth_setup(config: RunConfig, device: torch.device) -> TrainingSetup:
    """Open images with depth maps and build a DPT for them."""
    assert isinstance(config.options, DepthConfig)
    splits = open_dense(config.data.path, "depth", config.data)
    start = starting_model(config, (), DEPTH_HEAD)
    return dense_setup(config, splits, start, DepthTask(config.options))


def segmentation_setup(config: RunConfig, device: torch.device) -> TrainingSetup:
    """Open images with class masks and build a DPT for their classes."""
    assert isinstance(config.options, SegmentationConfig)
    splits = open_dense(config.data.path, "masks", config.data)
    start = starting_model(config, splits.classes, SEGMENTATION_HEAD)
    assert isinstance(start.model, DPT)
    task = SegmentationTask(start.labels, config.options, auxiliary_head=start.model.aux_head is not None)
    if start.model.aux_head is not None and not task.auxiliary:
        start.model.aux_head.requires_grad_(False)  # no loss reaches it
    return dense_setup(config, splits, start, task)


def dense_setup(config: RunConfig, splits: DataSplits, start: LoadedModel, task: Task) -> TrainingSetup:
    """The splits as the model takes them: augmented for training, as they are for evaluation."""
    assert start.preprocessing is not None
    transform = DenseTransform(start.preprocessing, config.augmentation)
    train = DenseDataset(cast(DenseSource, splits.train), transform, config.data.bad_images == "skip")
    val, test = (None if part is None else eval_maps(part, start.preprocessing) for part in (splits.val, splits.test))
    return TrainingSetup(start, task, train, val, test, splits=splits)


def eval_maps(part: Source, preprocessing: Preprocessing) -> DenseDataset:
    """Images of a split without augmentation, with maps at their own size."""
    return DenseDataset(cast(DenseSource, part), DenseTransform(preprocessing))


def starting_model(config: RunConfig, classes: tuple[str, ...], head: Mapping[str, Any]) -> LoadedModel:
    """The model at step 0: fresh; or a trained DPT; or a fresh DPT around a trained ViT.

    Args:
        config: of the run.
        classes: of the data; () for depth.
        head: options of a fresh DPT's head.
    """
    options = config.model
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    loaded = load_model(options.init) if options.init else None
    architectures = type(config.options).ARCHITECTURES
    if loaded is not None and loaded.architecture in architectures:
        if loaded.task != config.task:
            raise ConfigError(f"{options.init} was trained for {loaded.task}, not for {config.task}")
        if loaded.labels != classes:
            loaded = adapt(adapt(loaded, num_classes=0), num_classes=len(classes))
        loaded = adapt(loaded, image_size=options.image_size, in_channels=options.in_channels, options=options.options)
        return replace(loaded, labels=classes)
    if architecture_of(options.name) not in architectures:
        names = (name for name in list_models() if architecture_of(name) in architectures)
        raise ConfigError(f"{options.name} is no model for {config.task}: choose one of {', '.join(names)}")
    changes = {**head, **options.options, **({"drop_path": options.drop_path} if options.drop_path else {})}
    model = create(
        options.name, num_classes=len(classes), image_size=options.image_size, in_channels=options.in_channels,
        options=changes,
    )  # fmt: skip
    assert isinstance(model, DPT)
    preprocessing = replace(fresh_preprocessing(model), resize="exact", crop_pct=1.0)
    start = LoadedModel(model, architecture_of(options.name), classes, preprocessing, task=config.task)
    return start if loaded is None else with_backbone(start, loaded, options.drop_path, options.in_channels)
