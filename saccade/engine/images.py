"""Splits of images as model inputs, for every task with one label per image."""

from dataclasses import dataclass
from typing import Any, cast

from saccade.data.augmentation import EvalTransform, ImageTransform, PixelTransform, TrainTransform
from saccade.data.batching import ImageDataset, image_dataset
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import DataSplits, ImageSource, Source
from saccade.models.model import Model


@dataclass(frozen=True)
class ImageSplits:
    """The three splits."""

    train: ImageDataset
    val: ImageDataset | None
    test: ImageDataset | None


def image_splits(config: Any, splits: DataSplits, preprocessing: Preprocessing) -> ImageSplits:
    """Training images with augmentation of single images, the other splits without.

    Args:
        config: of the run.
        splits: images with one label each.
        preprocessing: of the model.
    """
    size = (preprocessing.channels, *preprocessing.size)
    skip_bad = config.data.bad_images == "skip"
    transform: ImageTransform
    if config.augmentation.where == "batch":
        transform = PixelTransform(preprocessing)
    else:
        transform = TrainTransform(preprocessing, config.augmentation)
        if transform.deterministic and preprocessing.channels in (1, 3):
            transform = PixelTransform(preprocessing)
    train = image_dataset(cast(ImageSource, splits.train), transform, size, skip_bad)
    val, test = (None if part is None else eval_images(part, preprocessing) for part in (splits.val, splits.test))
    return ImageSplits(train, val, test)


def eval_images(part: Source, preprocessing: Preprocessing) -> ImageDataset:
    """Images of a split without augmentation."""
    size = (preprocessing.channels, *preprocessing.size)
    return image_dataset(cast(ImageSource, part), EvalTransform(preprocessing), size)


def fresh_preprocessing(model: Model) -> Preprocessing:
    """Preprocessing of a model with fresh weights: values in [-1, 1]; small images are not cropped."""
    size, channels = model.config.image_size, model.config.in_channels
    half = (0.5,) * channels
    return Preprocessing(size, crop_pct=0.875 if min(size) >= 128 else 1.0, channels=channels, mean=half, std=half)
