"""Images with standardised values as batches."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch

from saccade.data.batching import ImageDataset, Item
from saccade.data.samples import Batch
from saccade.errors import DataError
from saccade.tasks.regression.sources import ValueSource


@dataclass(frozen=True)
class ValueScale:
    """Mean and standard deviation of the training values: a model predicts (value - mean) / std."""

    mean: float
    std: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def of(cls, source: ValueSource) -> "ValueScale":
        """The scale of a training split.

        Raises:
            DataError: all values are the same.
        """
        mean, std = float(np.mean(source.values)), float(np.std(source.values))
        if not std > 0:
            raise DataError(f"all {len(source)} training values are {mean:g}: there is nothing to learn")
        return cls(mean, std)


class ValueDataset(ImageDataset):
    """Images as model inputs, with their standardised value as target.

    Args:
        images: of a :class:`~saccade.tasks.regression.sources.ValueSource`.
        scale: of the model.
    """

    def __init__(self, images: ImageDataset, scale: ValueScale):
        super().__init__(images.source, images.transform, images.skip_bad, images.cache)
        self.scale = scale

    def __getitem__(self, item: Item) -> tuple[Any, Any, str, int, str]:
        """(image [C, H, W], standardised value, name, index, name of a broken image that was left out or "")."""
        image, _, name, index, skipped = super().__getitem__(item)
        value = cast(ValueSource, self.source).values[index]
        return image, float((value - self.scale.mean) / self.scale.std), name, index, skipped

    @staticmethod
    def collate(samples: Sequence[tuple[Any, Any, str, int, str]]) -> tuple[Batch, list[str]]:
        """Values in float64, so that targets are recovered exactly."""
        batch, skipped = ImageDataset.collate(samples)
        return batch._replace(labels=torch.tensor([value for _, value, *_ in samples], dtype=torch.float64)), skipped


def with_values(images: Sequence[ImageDataset | None], scale: ValueScale) -> list[ValueDataset | None]:
    return [None if part is None else ValueDataset(part, scale) for part in images]
