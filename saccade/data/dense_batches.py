"""From images with maps to batches: image and map are cut and mirrored together (torchvision's functions)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as functional
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from saccade.data.batching import Item, first_readable
from saccade.data.config import AugmentationConfig
from saccade.data.dense import IGNORE, DenseSource
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.data.seeding import mix_seed
from saccade.errors import ConfigError


@dataclass(frozen=True)
class Dense:
    """One image as the model takes it.

    `target` is the map at the model's size in training; at the image's own size for measuring.
    """

    image: Tensor  # [C, h, w]
    target: Tensor  # [h, w]
    name: str
    index: int
    skipped: str


class DenseTransform:
    """Preprocessing of image and map.

    Args:
        preprocessing: of the model; images are brought to its size exactly.
        config: crops, flip and colours of training; None for measuring.
    """

    def __init__(self, preprocessing: Preprocessing, config: AugmentationConfig | None = None):
        self.preprocessing, self.config = preprocessing, config
        self.colours = None
        if config is not None:
            names = ("randaugment", "erasing", "mixup", "cutmix", "affine", "pad_crop")
            unknown = [name for name in names if getattr(config, name)]
            if unknown:
                raise ConfigError(f"augmentation.{unknown[0]} would not move the maps: leave it out")
            strength = config.color_jitter
            self.colours = v2.ColorJitter(strength, strength, strength) if strength else None

    def __call__(self, image: Image.Image, target: np.ndarray, key: Sequence[int]) -> tuple[Tensor, Tensor]:
        picture: Any = self.preprocessing.in_colour(image)
        values = torch.from_numpy(target)
        if self.config is None:
            return self.preprocessing(picture), values
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mix_seed(*key))
            if self.config.crop_scale is not None:
                top, left, height, width = _crop(picture, self.config.crop_scale)
                picture = functional.crop(picture, top, left, height, width)
                values = values[top : top + height, left : left + width]
            if self.config.flip and torch.rand(()) < self.config.flip:
                picture, values = functional.horizontal_flip(picture), values.flip(-1)
            if self.colours is not None:
                picture = self.colours(picture)
        return self.preprocessing(picture), resized(values, self.preprocessing.size)


def _crop(picture: Image.Image, scale: tuple[float, float]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random part of that share of the area."""
    share = float(torch.empty(1).uniform_(*scale)) ** 0.5
    height, width = max(1, round(picture.height * share)), max(1, round(picture.width * share))
    top = int(torch.randint(picture.height - height + 1, ()))
    return top, int(torch.randint(picture.width - width + 1, ())), height, width


def resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """A map ``[H, W]`` at another size, each pixel the nearest of before: neither classes nor depths mix."""
    return F.interpolate(values[None, None].double(), size=size, mode="nearest-exact")[0, 0].to(values.dtype)


@dataclass
class DenseDataset(Dataset):
    """The images of a source as a dense predictor takes them."""

    source: DenseSource
    transform: DenseTransform
    skip_bad: bool = False
    cache: None = None

    def __getitem__(self, item: Item) -> Dense:
        index, key = item
        (image, target), index, skipped = first_readable(len(self.source), index, self.source.dense, self.skip_bad)
        return Dense(*self.transform(image, target, key), self.source.names[index], index, skipped)

    @staticmethod
    def collate(samples: Sequence[Dense]) -> tuple[Batch, list[str]]:
        """Maps of several sizes are filled up at the right and the bottom with pixels that do not count."""
        height, width = (max(s.target.shape[axis] for s in samples) for axis in (0, 1))
        nothing: float = float("nan") if samples[0].target.is_floating_point() else IGNORE
        target = samples[0].target.new_full((len(samples), height, width), nothing)
        for row, s in enumerate(samples):
            target[row, : s.target.shape[0], : s.target.shape[1]] = s.target
        sizes = torch.tensor([s.target.shape for s in samples])
        labels = {"target": target, "sizes": sizes}
        images = torch.stack([s.image for s in samples])
        batch = Batch(images, labels, tuple(s.name for s in samples), torch.tensor([s.index for s in samples]))
        return batch, [line for s in samples if s.skipped for line in s.skipped.split("\n")]
