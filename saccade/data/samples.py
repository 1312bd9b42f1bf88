"""The nouns of the data room: one image source, one batch, and the splits of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class ImageSource(Protocol):
    """Labelled images that are read one at a time, by index, from wherever they lie."""

    classes: tuple[str, ...]
    names: Sequence[str]  # what a person can find each image by: a path inside the data, or "digits/17"
    labels: np.ndarray  # [len(self)] int64, an index into `classes`

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """The upright image in mode "RGB" or "L"; raises `ImageError` naming it."""
        ...

    def data(self, index: int) -> bytes:
        """The stored bytes of the image, undecoded: what a check hashes and a shard holds."""
        ...


@dataclass(frozen=True)
class DataSplits:
    """A data set cut in three. `val` and `test` are None where the data or the config leaves none."""

    train: ImageSource
    val: ImageSource | None
    test: ImageSource | None
    classes: tuple[str, ...]  # sorted; the order is part of the result
    name: str
    fingerprint: str  # changes when a file, a label or the split changes; kept with a run for its resume


class Batch(NamedTuple):
    """One step's images.

    `images` [B, C, H, W] float32, normalised. `labels` [B] int64, or [B, K] float32 rows that sum to 1 after mixing.
    `names` and `indices` [B] say which images they are, so that a bad batch can be named.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    indices: Tensor

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        images, labels = (part.to(device, non_blocking=True) for part in (self.images, self.labels))
        return Batch(images, labels, self.names, self.indices)
