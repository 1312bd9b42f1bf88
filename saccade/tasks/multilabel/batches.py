"""Images with a row of targets each as batches."""

from collections.abc import Sequence
from typing import Any, cast

import torch

from saccade.data.batching import ImageDataset, Item
from saccade.data.samples import Batch
from saccade.tasks.multilabel.sources import MultiLabelSource


class MultiLabelDataset(ImageDataset):
    """Images as the model takes them, with targets ``[K]`` of 0 and 1 in place of a class.

    Args:
        images: of a :class:`~saccade.tasks.multilabel.sources.MultiLabelSource`.
    """

    def __init__(self, images: ImageDataset):
        super().__init__(images.source, images.transform, images.skip_bad, images.cache)

    def __getitem__(self, item: Item) -> tuple[Any, Any, str, int, str]:
        """(image [C, H, W], targets [K], name, index, errors of the broken images that it replaces)."""
        image, _, name, index, skipped = super().__getitem__(item)
        target = torch.from_numpy(cast(MultiLabelSource, self.source).targets[index]).float()
        return image, target, name, index, skipped

    @staticmethod
    def collate(samples: Sequence[tuple[Any, Any, str, int, str]]) -> tuple[Batch, list[str]]:
        """Targets ``[B, K]`` float32."""
        plain = [(image, 0, name, index, skipped) for image, _, name, index, skipped in samples]
        batch, lines = ImageDataset.collate(plain)
        return batch._replace(labels=torch.stack([target for _, target, *_ in samples])), lines


def with_targets(images: Sequence[ImageDataset | None]) -> list[MultiLabelDataset | None]:
    return [None if part is None else MultiLabelDataset(part) for part in images]
