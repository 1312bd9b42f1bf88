"""Images with maps as batches: image and map are cropped and flipped together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from saccade.data.augmentation import colour_transform
from saccade.data.batching import Item, first_readable
from saccade.data.config import AugmentationConfig
from saccade.data.images import size_of
from saccade.data.pixels import crop, flip
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.data.seeding import mix_seed
from saccade.engine.task import stack_images
from saccade.errors import ConfigError
from saccade.tasks.dense.sources import IGNORE, DenseSource


@dataclass(frozen=True)
class DenseSample:
    """One preprocessed image with its map: at the size of the model in training, at that of the image in evaluation."""

    image: Tensor  # [C, h, w]
    target: Tensor  # [h, w]
    name: str
    index: int
    skipped: str


class DenseTransform:
    """Preprocessing of image and map.

    Args:
        preprocessing: of the model; images are resized to its size exactly.
        config: crops, flip and colour jitter of training; None for evaluation.
    """

    def __init__(self, preprocessing: Preprocessing, config: AugmentationConfig | None = None):
        self.preprocessing, self.config = preprocessing, config
        self.colours = None
        if config is not None:
            unsupported = ("randaugment", "erasing", "mixup", "cutmix", "affine", "pad_crop")
            active = [name for name in unsupported if getattr(config, name)]
            if active:
                raise ConfigError(f"augmentation.{active[0]} does not transform depth maps or masks: switch it off")
            self.colours = colour_transform(config, preprocessing)

    def __call__(self, image: Image.Image | Tensor, target: np.ndarray, key: Sequence[int]) -> tuple[Tensor, Tensor]:
        picture: Any = self.preprocessing.convert_mode(image)
        values = torch.from_numpy(target)
        if self.config is None:
            return self.preprocessing(picture), values
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mix_seed(*key))
            if self.config.crop_scale is not None:
                top, left, height, width = _crop(picture, self.config.crop_scale)
                picture = crop(picture, top, left, height, width)
                values = values[top : top + height, left : left + width]
            if self.config.flip and torch.rand(()) < self.config.flip:
                picture, values = flip(picture), values.flip(-1)
            if self.colours is not None:
                picture = self.colours(picture)
        preprocessing = self.preprocessing
        if preprocessing.keeps_aspect:  # crops have many aspect ratios, a batch has one size
            preprocessing = replace(preprocessing, resize="exact", multiple=1)
        return preprocessing(picture), resize_map(values, preprocessing.size)


def _crop(picture: Image.Image | Tensor, scale: tuple[float, float]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random crop whose fraction of the area is within `scale`."""
    side = float(torch.empty(1).uniform_(*scale)) ** 0.5
    full_height, full_width = size_of(picture)
    height, width = max(1, round(full_height * side)), max(1, round(full_width * side))
    top = int(torch.randint(full_height - height + 1, ()))
    return top, int(torch.randint(full_width - width + 1, ())), height, width


def resize_map(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour resize of a map ``[H, W]``, which mixes neither classes nor depths."""
    return F.interpolate(values[None, None].double(), size=size, mode="nearest-exact")[0, 0].to(values.dtype)


@dataclass
class DenseDataset(Dataset):
    """The images of a source as the inputs of a dense predictor."""

    source: DenseSource
    transform: DenseTransform
    skip_bad: bool = False
    cache: None = None

    def __getitem__(self, item: Item) -> DenseSample:
        index, key = item
        read = partial(self.source.with_map, channels=self.transform.preprocessing.channels)
        (image, target), index, skipped = first_readable(len(self.source), index, read, self.skip_bad)
        return DenseSample(*self.transform(image, target, key), self.source.names[index], index, skipped)

    @staticmethod
    def collate(samples: Sequence[DenseSample]) -> tuple[Batch, list[str]]:
        """Labels `target` and `sizes`; smaller maps are padded at the right and the bottom with ignored pixels."""
        height, width = (max(s.target.shape[axis] for s in samples) for axis in (0, 1))
        padding: float = float("nan") if samples[0].target.is_floating_point() else IGNORE
        target = samples[0].target.new_full((len(samples), height, width), padding)
        for row, s in enumerate(samples):
            target[row, : s.target.shape[0], : s.target.shape[1]] = s.target
        sizes = torch.tensor([s.target.shape for s in samples])
        labels = {"target": target, "sizes": sizes}
        images = stack_images([s.image for s in samples])
        batch = Batch(images, labels, tuple(s.name for s in samples), torch.tensor([s.index for s in samples]))
        return batch, [line for s in samples if s.skipped for line in s.skipped.split("\n")]
