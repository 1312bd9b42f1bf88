"""What is where: images with boxes, a detector."""

from dataclasses import replace
from typing import cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import with_backbone
from saccade.data.boxed_batches import BoxDataset, BoxTransform
from saccade.data.boxes import open_boxes
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import BoxSource, DataSplits
from saccade.data.seeding import RandomStream, mix_seed
from saccade.errors import ConfigError
from saccade.models.model import Model
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.classical import ClassicalTask
from saccade.tasks.detection import DetectionTask
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.jobs.images import fresh_preprocessing
from saccade.training.jobs.job import AsItIs, Job

ARCHITECTURES = ("detr", "yolo")


def open_splits(config: RunConfig) -> DataSplits:
    return open_boxes(config.data.path, config.data)


def prepare(config: RunConfig, processes: Processes) -> Job:
    """Open images with boxes and build a detector for their classes."""
    splits = open_splits(config)
    start = starting_model(config, splits.classes)
    assert start.preprocessing is not None
    skip_bad = config.data.bad_images == "skip"
    plain = BoxTransform(start.preprocessing)
    source = cast(BoxSource, splits.train)
    masks = getattr(start.model.config, "masks", False)
    train = BoxDataset(source, BoxTransform(start.preprocessing, config.augmentation), skip_bad, masks)
    val, test = (
        None if part is None else BoxDataset(cast(BoxSource, part), plain, masks=masks)
        for part in (splits.val, splits.test)
    )
    kind = ClassicalTask if start.architecture == "yolo" else DetectionTask
    task = kind(splits.classes, config.detection)
    return Job(splits, start, task, train, val, test, AsItIs())


def starting_model(config: RunConfig, classes: tuple[str, ...]) -> LoadedModel:
    """Fresh; or a trained detector with a head for these classes; or a fresh one on the backbone of any other model."""
    wanted = config.model
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    architecture = architecture_of(wanted.name)
    if architecture not in ARCHITECTURES:
        raise ConfigError(
            f"{wanted.name} is no detector; there are {', '.join([*list_models('detr*'), *list_models('yolo*')])}"
        )
    loaded = load_model(wanted.init) if wanted.init else None
    if loaded is not None and loaded.architecture == architecture:
        if loaded.labels != classes:
            loaded = adapt(adapt(loaded, num_classes=0), num_classes=len(classes))
        loaded = adapt(loaded, options=wanted.options)
        preprocessing = loaded.preprocessing
        assert preprocessing is not None
        if wanted.image_size is not None:
            preprocessing = replace(preprocessing, size=wanted.image_size)
        return replace(loaded, labels=classes, preprocessing=preprocessing, task="detection")
    model = create(wanted.name, num_classes=len(classes), image_size=wanted.image_size, options=wanted.options)
    start = LoadedModel(model, architecture, classes, boxed_preprocessing(model), task="detection")
    return start if loaded is None else with_backbone(start, loaded, wanted.drop_path)


def boxed_preprocessing(model: Model) -> Preprocessing:
    """Images keep their shape: the shorter side becomes that of the model's size, the longer at most the other."""
    return replace(fresh_preprocessing(model), resize="range", crop_pct=1.0)
