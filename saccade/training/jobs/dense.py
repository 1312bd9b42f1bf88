"""A value for every pixel: depth, or a class."""

from dataclasses import replace
from typing import cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import with_backbone
from saccade.data.dense import DenseSource, Kind, open_dense
from saccade.data.dense_batches import DenseDataset, DenseTransform
from saccade.data.samples import DataSplits
from saccade.data.seeding import RandomStream, mix_seed
from saccade.errors import ConfigError
from saccade.models.dpt import DPT
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.depth import DepthTask
from saccade.tasks.segmentation import SegmentationTask
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.jobs.images import fresh_preprocessing
from saccade.training.jobs.job import AsItIs, Job

KINDS: dict[str, Kind] = {"depth": "depth", "segment": "masks"}
TASKS = {"depth": "depth", "segment": "segmentation"}  # of the run -> of the model


def open_splits(config: RunConfig) -> DataSplits:
    return open_dense(config.data.path, KINDS[config.task], config.data)


def prepare(config: RunConfig, processes: Processes) -> Job:
    """Open images with maps and build a DPT for them."""
    splits = open_splits(config)
    start = starting_model(config, splits.classes)
    assert start.preprocessing is not None
    source = cast(DenseSource, splits.train)
    transform = DenseTransform(start.preprocessing, config.augmentation)
    train = DenseDataset(source, transform, config.data.bad_images == "skip")
    plain = DenseTransform(start.preprocessing)
    val, test = (
        None if part is None else DenseDataset(cast(DenseSource, part), plain) for part in (splits.val, splits.test)
    )
    task = DepthTask(config.depth) if config.task == "depth" else SegmentationTask(start.labels, config.segmentation)
    return Job(splits, start, task, train, val, test, AsItIs())


def starting_model(config: RunConfig, classes: tuple[str, ...]) -> LoadedModel:
    """Fresh; or a trained DPT; or a fresh DPT around a trained ViT."""
    wanted, task = config.model, TASKS[config.task]
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    loaded = load_model(wanted.init) if wanted.init else None
    if loaded is not None and loaded.architecture == "dpt":
        if loaded.task != task:
            raise ConfigError(f"{wanted.init} was made for {loaded.task}, not for {task}")
        if loaded.labels != classes:
            loaded = adapt(adapt(loaded, num_classes=0), num_classes=len(classes))
        loaded = adapt(loaded, image_size=wanted.image_size, options=wanted.options)
        return replace(loaded, labels=classes)
    if architecture_of(wanted.name) != "dpt":
        raise ConfigError(f"{wanted.name} says nothing of single pixels; there are {', '.join(list_models('dpt*'))}")
    options = dict(wanted.options)
    if config.task == "segment":
        options = {"head": "segmentation", "batch_norm": True, "auxiliary": True, **options}
    else:
        options = {"head": "depth", "auxiliary": False, **options}
    if wanted.drop_path:
        options["drop_path"] = wanted.drop_path
    model = create(wanted.name, num_classes=len(classes), image_size=wanted.image_size, options=options)
    assert isinstance(model, DPT)
    preprocessing = replace(fresh_preprocessing(model), resize="exact", crop_pct=1.0)
    start = LoadedModel(model, "dpt", classes, preprocessing, task=task)
    return start if loaded is None else with_backbone(start, loaded, wanted.drop_path)
