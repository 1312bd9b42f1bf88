"""Data, model and task of a detection run: images with boxes, a DETR or a dense detector for their classes."""

import logging
from dataclasses import replace
from typing import cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import with_backbone
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import BoxSource, DataSplits
from saccade.data.seeding import RandomStream, mix_seed
from saccade.engine.images import fresh_preprocessing
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.models.detr import DETR
from saccade.models.model import Model
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.detection.batches import BoxDataset, BoxTransform
from saccade.tasks.detection.config import DetectionConfig
from saccade.tasks.detection.detr import DetrTask
from saccade.tasks.detection.fcos import FcosTask
from saccade.tasks.detection.records import RecordSource
from saccade.tasks.detection.sources import open_boxes
from saccade.tasks.detection.task import DetectionTask
from saccade.training.config import RunConfig

log = logging.getLogger("saccade")


def make_setup(config: RunConfig, device: torch.device) -> TrainingSetup:
    """Open images with boxes and build a detector for their classes."""
    splits = open_boxes(config.data.path, config.data)
    start = starting_model(config, splits.classes)
    assert start.preprocessing is not None
    transform = BoxTransform(start.preprocessing)
    masks = has_mask_head(start.model)
    warn_of_few_queries(start.model, splits)
    train = BoxDataset(
        cast(BoxSource, splits.train),
        BoxTransform(start.preprocessing, config.augmentation, multi_scale=config.options.multi_scale),
        skip_bad=config.data.bad_images == "skip",
        masks=masks,
    )
    val, test = (
        None if part is None else BoxDataset(cast(BoxSource, part), transform, masks=masks)
        for part in (splits.val, splits.test)
    )
    return TrainingSetup(start, make_task(start, config.options), train, val, test, splits=splits)


def warn_of_few_queries(model: Model, splits: DataSplits) -> None:
    """Log a warning if images have more objects than the model has queries: it can never detect all of them."""
    if not isinstance(model, DETR):
        return
    counts = [len(r.boxes) for part in splits.parts.values() if isinstance(part, RecordSource) for r in part.records]
    num_queries = model.config.num_queries
    crowded = [count for count in counts if count > num_queries]
    if crowded:
        log.warning(
            "%d of %d images have more objects (up to %d) than the model has queries (%d), and it predicts at most one "
            "object with each: set model.options.num_queries to %d or more",
            len(crowded), len(counts), max(crowded), num_queries, max(crowded),
        )  # fmt: skip


def make_task(source: LoadedModel, config: DetectionConfig | None = None, *, threshold: float = 0.5) -> DetectionTask:
    """The task of a detector, by the kind of its predictions."""
    kind = DetrTask if isinstance(source.model, DETR) else FcosTask
    return kind(source.labels, config, threshold=threshold)


def has_mask_head(model: Model) -> bool:
    return isinstance(model, DETR) and model.config.masks


def starting_model(config: RunConfig, classes: tuple[str, ...]) -> LoadedModel:
    """The model at step 0: fresh; or a trained detector with a head for these classes; or a fresh one on the backbone
    of any other trained model."""
    options = config.model
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    architecture = architecture_of(options.name)
    if architecture not in DetectionConfig.ARCHITECTURES:
        detectors = ", ".join(name for kind in DetectionConfig.ARCHITECTURES for name in list_models(f"{kind}*"))
        raise ConfigError(f"{options.name} is no detector; there are {detectors}")
    loaded = load_model(options.init) if options.init else None
    if loaded is not None and loaded.architecture == architecture:
        if loaded.labels != classes:
            loaded = adapt(adapt(loaded, num_classes=0), num_classes=len(classes))
        loaded = adapt(loaded, in_channels=options.in_channels, options=options.options)
        preprocessing = loaded.preprocessing
        assert preprocessing is not None
        if options.image_size is not None:
            preprocessing = replace(preprocessing, size=options.image_size)
        return replace(loaded, labels=classes, preprocessing=preprocessing, task="detection")
    model = create(
        options.name, num_classes=len(classes), image_size=options.image_size, in_channels=options.in_channels,
        options=options.options,
    )  # fmt: skip
    start = LoadedModel(model, architecture, classes, detector_preprocessing(model), task="detection")
    return start if loaded is None else with_backbone(start, loaded, options.drop_path, options.in_channels)


def detector_preprocessing(model: Model) -> Preprocessing:
    """Images keep their aspect ratio: the shorter side is resized to that of the model's size, the longer side to at
    most the other."""
    return replace(fresh_preprocessing(model), resize="range", crop_pct=1.0)
