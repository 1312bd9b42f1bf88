"""Data, model and task of masked image modelling: images without labels, and the noise that selects masked patches."""

import torch
from torch import Tensor

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.data.batch_augmentation import BatchAugmentation
from saccade.data.image_folder import open_unlabelled
from saccade.data.samples import Batch
from saccade.data.seeding import RandomStream, mix_seed
from saccade.engine.images import fresh_preprocessing, image_splits
from saccade.engine.room import require_preprocessing
from saccade.engine.setup import BatchTransform, TrainingSetup
from saccade.errors import ConfigError
from saccade.models.mae import MaskedAutoencoder, spread_noise
from saccade.models.masked_vit import MaskedViT
from saccade.models.zoo import architecture_of, create, list_models
from saccade.nn.patches import Size
from saccade.tasks.masked_image.config import MaskedImageConfig
from saccade.tasks.masked_image.task import MaskedColoursTask, MaskedImageTask, MaskedPixelsTask, grid_of
from saccade.training.config import RunConfig


def make_setup(config: RunConfig, device: torch.device) -> TrainingSetup:
    """Open images and build a model that predicts their masked patches."""
    mixing = {"augmentation.mixup": config.augmentation.mixup, "augmentation.cutmix": config.augmentation.cutmix}
    for name, value in mixing.items():
        if value:
            raise ConfigError(f"{name} mixes labels, and masked image modelling has none: set it to 0")
    splits = open_unlabelled(config.data.path, config.data)
    start = starting_model(config)
    assert start.preprocessing is not None
    images = image_splits(config, splits, start.preprocessing)
    augmentation = BatchAugmentation(config.augmentation, start.preprocessing, 1, config.seed)
    masking = PatchMasking(augmentation, start.model.config.patch_size, config.seed)
    return TrainingSetup(start, make_task(start), images.train, images.val, images.test, masking, splits)


class PatchMasking:
    """Puts the noise that masks patches into the labels of a batch: ``noise [B, N]``.

    It is drawn for the whole batch from (seed, step), and each process takes its rows; so the masks do not depend on
    the number of parts and processes.

    Args:
        augmentation: of the images, done first.
        patch_size: (p, q) in pixels.
        seed: of the run.
    """

    def __init__(self, augmentation: BatchTransform, patch_size: Size, seed: int):
        self.augmentation, self.patch_size, self.seed = augmentation, patch_size, seed

    def __call__(self, batch: Batch, *, step: int, rows: slice, batch_size: int) -> Batch:
        batch = self.augmentation(batch, step=step, rows=rows, batch_size=batch_size)
        generator = torch.Generator().manual_seed(mix_seed(self.seed, step, RandomStream.PATCH_MASK))
        noise = torch.rand(batch_size, self.num_patches(batch.inputs), generator=generator)[rows]
        return batch._replace(labels={"noise": noise.to(batch.inputs.device)})

    def plain(self, batch: Batch) -> Batch:
        """Without augmentation, and with the patches masked that evaluation masks."""
        batch = self.augmentation.plain(batch)
        noise = spread_noise(len(batch.inputs), self.num_patches(batch.inputs), batch.inputs.device)
        return batch._replace(labels={"noise": noise})

    def num_patches(self, images: Tensor) -> int:
        rows, columns = grid_of(images, self.patch_size)
        return rows * columns


def make_task(source: LoadedModel) -> MaskedImageTask:
    """The task of a model: pixels of a masked autoencoder, colours of masked patch prediction.

    Raises:
        ConfigError: the model masks no patches.
        CheckpointError: it does not record its preprocessing.
    """
    require_preprocessing(source)
    model, preprocessing = source.model, source.preprocessing
    assert preprocessing is not None
    if isinstance(model, MaskedAutoencoder):
        return MaskedPixelsTask(model.config.patch_size, preprocessing, model.config.norm_pixels)
    if isinstance(model, MaskedViT):
        return MaskedColoursTask(model.config.patch_size, preprocessing)
    raise ConfigError(f"a {source.architecture} masks no patches: it is not a model for masked_image")


def starting_model(config: RunConfig) -> LoadedModel:
    """The model at step 0: fresh, or a checkpoint."""
    options = config.model
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    if options.init:
        loaded = load_model(options.init, image_size=options.image_size, in_channels=options.in_channels)
        loaded = adapt(loaded, options=options.options)
        require_masked_model(options.init, loaded.architecture)
        require_preprocessing(loaded)
        return LoadedModel(loaded.model, loaded.architecture, (), loaded.preprocessing, task="masked_image")
    architecture = architecture_of(options.name)
    require_masked_model(options.name, architecture)
    model = create(
        options.name, image_size=options.image_size, in_channels=options.in_channels, options=options.options
    )
    return LoadedModel(model, architecture, (), fresh_preprocessing(model), task="masked_image")


def require_masked_model(name: str, architecture: str) -> None:
    """Raise ConfigError unless the architecture is one of this task."""
    if architecture not in MaskedImageConfig.ARCHITECTURES:
        models = ", ".join([*list_models("mae*"), *list_models("masked_vit*")])
        raise ConfigError(f"{name} is a {architecture}, which masks no patches; models for masked_image are {models}")
