"""Splits of plain images as a model takes them, for every job whose batch is images and one label each."""

from dataclasses import dataclass
from typing import cast

from saccade.data.augmentation import EvalTransform, ImageTransform, PixelTransform, TrainTransform
from saccade.data.batching import ImageDataset, image_dataset
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import DataSplits, ImageSource, Source
from saccade.models.model import Model
from saccade.training.config import RunConfig


@dataclass(frozen=True)
class ImageSplits:
    """The three splits."""

    train: ImageDataset
    val: ImageDataset | None
    test: ImageDataset | None


def prepared_splits(config: RunConfig, splits: DataSplits, preprocessing: Preprocessing) -> ImageSplits:
    """Training images with what the loader adds to them, the others as they are."""
    size = (preprocessing.channels, *preprocessing.size)

    def held_out(source: Source | None) -> ImageDataset | None:
        return None if source is None else image_dataset(cast(ImageSource, source), EvalTransform(preprocessing), size)

    skip_bad = config.data.bad_images == "skip"
    transform: ImageTransform
    if config.augmentation.where == "batch":
        transform = PixelTransform(preprocessing)
    else:
        transform = TrainTransform(preprocessing, config.augmentation)
        if transform.deterministic:
            transform = PixelTransform(preprocessing)
    train = image_dataset(cast(ImageSource, splits.train), transform, size, skip_bad)
    return ImageSplits(train, held_out(splits.val), held_out(splits.test))


def fresh_preprocessing(model: Model) -> Preprocessing:
    """For a model that has seen nothing yet: values in [-1, 1]; small images are used to their edge."""
    size, channels = model.config.image_size, model.config.in_channels
    half = (0.5,) * channels
    return Preprocessing(size, crop_pct=0.875 if min(size) >= 128 else 1.0, channels=channels, mean=half, std=half)
