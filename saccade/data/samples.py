"""The nouns of the data room: one image source, one batch, and the splits of a data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class Source(Protocol):
    """Things that are read one at a time, by index, from wherever they lie: images, or texts."""

    classes: tuple[str, ...]
    names: Sequence[str]  # what a person can find each by: a path inside the data, "digits/17", "poems.txt:17"

    @property
    def labels(self) -> np.ndarray:
        """``[len(self)]`` int64, an index into `classes`; all 0 where there are none."""
        ...

    def __len__(self) -> int: ...

    def data(self, index: int) -> bytes:
        """The stored bytes, undecoded: what a check hashes and a shard holds."""
        ...


class ImageSource(Source, Protocol):
    """Labelled images."""

    def image(self, index: int) -> Image.Image:
        """The upright image in mode "RGB" or "L"; raises `ImageError` naming it."""
        ...


class Translation(NamedTuple):
    """A text and the same in other words, or in another language."""

    source: str
    target: str


class TranslationSource(Source, Protocol):
    """Pairs of texts."""

    def pair(self, index: int) -> Translation: ...


class TextSource(Source, Protocol):
    """Texts, one after the other; several that belong together are a document."""

    def text(self, index: int) -> str: ...

    def follower(self, index: int) -> int | None:
        """The index of the text that follows in the same document; None after its last."""
        ...


class BoxedImage(NamedTuple):
    """An image and the things in it."""

    image: Image.Image
    boxes: np.ndarray  # [n, 4] float32: left, top, right, bottom in pixels
    labels: np.ndarray  # [n] int64, an index into the source's classes
    masks: np.ndarray | None = None  # [n, H, W] boolean, where the data knows which pixels each thing has


class BoxSource(ImageSource, Protocol):
    """Images with boxes; `labels` are all 0."""

    def with_boxes(self, index: int) -> BoxedImage:
        """The image with its boxes, read once; raises `ImageError` naming it."""
        ...


class CaptionedImage(NamedTuple):
    """An image and what is said of it."""

    image: Image.Image
    captions: tuple[str, ...]  # at least one


class CaptionSource(ImageSource, Protocol):
    """Images with captions; `labels` are all 0."""

    def captions(self, index: int) -> tuple[str, ...]: ...

    def with_captions(self, index: int) -> CaptionedImage:
        """The image with its captions, read once; raises `ImageError` naming it."""
        ...


@dataclass(frozen=True)
class DataSplits:
    """A data set cut in three. `val` and `test` are None where the data or the config leaves none."""

    train: Source
    val: Source | None
    test: Source | None
    classes: tuple[str, ...]  # sorted; the order is part of the result
    name: str
    fingerprint: str  # changes when a file, a label or the split changes; kept with a run for its resume


class Batch(NamedTuple):
    """The inputs of one step and their targets.

    Attributes:
        inputs: ``[B, C, H, W]`` float32, normalised; or uint8 pixels that the device will normalise; of texts their
            numbers ``[B, L]`` int64.
        labels: ``[B]`` int64; or ``[B, K]`` float32 rows that sum to 1 after mixing; or, for tasks that know more of an
            image than its class, several tensors by name, each ``[B, ...]``.
        names, indices: ``[B]``, which images they are, so that a bad batch can be named.
    """

    inputs: Tensor
    labels: Tensor | dict[str, Tensor]
    names: tuple[str, ...]
    indices: Tensor

    @property
    def classes(self) -> Tensor:
        """The labels, where they are one tensor."""
        assert isinstance(self.labels, Tensor)
        return self.labels

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, rows: slice) -> "Batch":
        """Some images of the batch."""
        part = self.map(lambda tensor: tensor[rows])
        return part._replace(names=self.names[rows], indices=self.indices[rows])

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with `change` applied to inputs and labels."""
        labels = self.labels
        changed = change(labels) if isinstance(labels, Tensor) else {n: change(t) for n, t in labels.items()}
        return self._replace(inputs=change(self.inputs), labels=changed)

    def tensors(self) -> dict[str, Tensor]:
        """Inputs and labels by name, as a file holds them."""
        labels = {"labels": self.labels} if isinstance(self.labels, Tensor) else self.labels
        return {"inputs": self.inputs, **labels}
