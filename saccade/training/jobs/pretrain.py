"""Learn from images without labels: hide patches and ask for them."""

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.data.batch_augmentation import BatchAugmentation
from saccade.data.image_folder import open_unlabelled
from saccade.data.samples import DataSplits
from saccade.data.seeding import RandomStream, mix_seed
from saccade.errors import ConfigError
from saccade.models.mae import MaskedAutoencoder
from saccade.models.masked_vit import MaskedViT
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.masked import MaskedColours, MaskedPixels, MaskedTask
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.jobs.images import fresh_preprocessing, prepared_splits
from saccade.training.jobs.job import Job


def prepare(config: RunConfig, processes: Processes) -> Job:
    """Open images and build a model that fills in their hidden parts."""
    mixed = {"augmentation.mixup": config.augmentation.mixup, "augmentation.cutmix": config.augmentation.cutmix}
    for name, value in mixed.items():
        if value:
            raise ConfigError(f"{name} mixes labels, and pre-training has none: set it to 0")
    if config.distillation.teacher:
        raise ConfigError("pre-training has no teacher: set distillation.teacher to an empty text")
    splits = open_splits(config)
    start = starting_model(config)
    assert start.preprocessing is not None
    images = prepared_splits(config, splits, start.preprocessing)
    augmentation = BatchAugmentation(config.augmentation, start.preprocessing, 1, config.seed)
    return Job(splits, start, make_task(start), images.train, images.val, images.test, augmentation)


def open_splits(config: RunConfig) -> DataSplits:
    return open_unlabelled(config.data.path, config.data)


def make_task(start: LoadedModel) -> MaskedTask:
    """The question that belongs to the model."""
    model, preprocessing = start.model, start.preprocessing
    if isinstance(model, MaskedAutoencoder):
        return MaskedPixels(model.config.patch_size, model.config.norm_pixels)
    assert isinstance(model, MaskedViT)
    assert preprocessing is not None
    return MaskedColours(model.config.patch_size, preprocessing)


def starting_model(config: RunConfig) -> LoadedModel:
    """Fresh, or a checkpoint to go on with."""
    wanted = config.model
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    if wanted.init:
        loaded = adapt(load_model(wanted.init, image_size=wanted.image_size), options=wanted.options)
        if loaded.preprocessing is None:
            raise ConfigError(f"{wanted.init} does not say how images are prepared for it")
        name, architecture, preprocessing = wanted.init, loaded.architecture, loaded.preprocessing
        model = loaded.model
    else:
        name, architecture = wanted.name, architecture_of(wanted.name)
        model = create(name, image_size=wanted.image_size, options=wanted.options) if _fits(architecture) else None
        preprocessing = None if model is None else fresh_preprocessing(model)
    if model is None or not _fits(architecture):
        models = ", ".join([*list_models("mae*"), *list_models("masked_vit*")])
        raise ConfigError(f"{name} is no model for images without labels; there are {models}")
    return LoadedModel(model, architecture, (), preprocessing, task="pretraining")


def _fits(architecture: str) -> bool:
    return architecture in ("mae", "masked_vit")
