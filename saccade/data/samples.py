"""Sources of samples, batches, and the splits of a data set."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saccade.errors import DataError


class Source(Protocol):
    """Samples that are read one at a time, by index: images, or texts."""

    classes: tuple[str, ...]
    names: Sequence[str]  # where a person finds each: a path inside the data, "digits/17", "poems.txt:17"

    @property
    def labels(self) -> np.ndarray:
        """``[len(self)]`` int64, an index into `classes`; all 0 for samples without a class."""
        ...

    def __len__(self) -> int: ...

    def data(self, index: int) -> bytes:
        """The encoded bytes, for checksums and shards."""
        ...


class ImageSource(Source, Protocol):
    """Labelled images."""

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        """The upright image for a model with this number of channels, as :func:`saccade.data.images.read_image` returns
        it: a PIL image for 1 or 3, otherwise ``[C, H, W]``; raises `ImageError` with its name."""
        ...


@runtime_checkable
class PixelSource(Protocol):
    """Images that can be decoded faster as tensors than as PIL images."""

    def pixels(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        """The upright image as :func:`saccade.data.jpeg.read_pixels` returns it: a JPEG as ``[C, H, W]`` uint8, bitwise
        equal to ``image``; raises `ImageError` with its name."""
        ...


def pixels_of(source: ImageSource, index: int, channels: int = 3) -> Image.Image | Tensor:
    """An image for a transform, decoded as a tensor if the source supports it."""
    return source.pixels(index, channels) if isinstance(source, PixelSource) else source.image(index, channels)


class Examination(NamedTuple):
    """Result of reading a sample as in training.

    Attributes:
        size: (height, width) of the image in pixels.
        problems: annotations that training silently omits or corrects, such as a box without area.
    """

    size: tuple[int, int]
    problems: tuple[str, ...] = ()


@runtime_checkable
class ExaminedSource(Protocol):
    """Images whose annotations may be unreadable or doubtful."""

    def examine(self, index: int, channels: int = 3) -> Examination:
        """Read a sample with its annotation as in training, with the same errors."""
        ...


@runtime_checkable
class ComparedSource(Protocol):
    """Samples with a target other than a class, which must be the same for copies of an image."""

    target_name: str  # "labels", "values"

    def target(self, index: int) -> Hashable: ...


class Translation(NamedTuple):
    """A text and its translation."""

    source: str
    target: str


class TranslationSource(Source, Protocol):
    """Pairs of texts."""

    def pair(self, index: int) -> Translation: ...


class TextSource(Source, Protocol):
    """Texts in order; consecutive ones may belong to the same document."""

    def text(self, index: int) -> str: ...

    def follower(self, index: int) -> int | None:
        """The index of the next text of the same document; None for its last."""
        ...


class BoxTruth(NamedTuple):
    """The ground truth of an image for evaluation: all annotated objects, unchanged.

    A box may extend beyond its image or have no area. A crowd is a region with an unknown number of objects; detections
    in it are neither correct nor wrong.
    """

    boxes: np.ndarray  # [m, 4] float64: left, top, right, bottom in pixels
    labels: np.ndarray  # [m] int64, an index into the source's classes
    areas: np.ndarray  # [m] float64, pixels: of the object where it is known, of its box otherwise
    crowd: np.ndarray  # [m] boolean


class BoxedImage(NamedTuple):
    """An image and its objects for training: without crowds, clipped to the image."""

    image: Image.Image | Tensor
    boxes: np.ndarray  # [n, 4] float32: left, top, right, bottom in pixels
    labels: np.ndarray  # [n] int64, an index into the source's classes
    masks: np.ndarray | None = None  # [n, H, W] boolean, if the data has them
    truth: BoxTruth | None = None  # None: the boxes, none of them a crowd

    def measured(self) -> BoxTruth:
        """The ground truth for evaluation."""
        if self.truth is not None:
            return self.truth
        boxes = self.boxes.astype(np.float64)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        return BoxTruth(boxes, self.labels, areas, np.zeros(len(boxes), bool))


class BoxSource(ImageSource, Protocol):
    """Images with boxes; `labels` are all 0."""

    def with_boxes(self, index: int, channels: int = 3) -> BoxedImage:
        """The image with its boxes; raises `ImageError` with its name."""
        ...


class CaptionedImage(NamedTuple):
    """An image and its captions."""

    image: Image.Image | Tensor
    captions: tuple[str, ...]  # at least one


class CaptionSource(ImageSource, Protocol):
    """Images with captions; `labels` are all 0."""

    def captions(self, index: int) -> tuple[str, ...]: ...

    def with_captions(self, index: int, channels: int = 3) -> CaptionedImage:
        """The image with its captions; raises `ImageError` with its name."""
        ...


@dataclass(frozen=True)
class DataSplits:
    """The splits of a data set; `val` and `test` are None if they are empty."""

    train: Source  # empty only where data to measure on has a split of its own and no training images
    val: Source | None
    test: Source | None
    classes: tuple[str, ...]  # sorted; the order is part of the result
    name: str
    fingerprint: str  # a digest of files, labels and splits, stored with a run and compared by `same_data`
    notes: tuple[str, ...] = ()  # the layout that was recognised, and files that were skipped
    generated: bool = False  # composed by this package: nothing to check before a run

    def __post_init__(self) -> None:
        require_text(self.classes, self.name)

    @property
    def parts(self) -> dict[str, Source]:
        """The splits that are not empty, by name."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None and len(part)}


def require_text(classes: Iterable[str], origin: str) -> None:
    """Raise DataError unless the names of all classes are text: a model's config.json and report require it.

    A folder's name may contain any bytes; bytes that are not UTF-8 become surrogates.
    """
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{origin}: the name of the class {name!r} is not UTF-8: rename it") from None


def same_data(one: str, other: str) -> bool:
    """Whether two fingerprints can belong to the same data.

    A fingerprint is one digest of names, sizes, labels and splits; after a colon there may be a second one of the
    content of some files. Fingerprints of earlier versions have only the first, and only that is then compared.
    """
    names, _, content = one.partition(":")
    other_names, _, other_content = other.partition(":")
    return names == other_names and (not content or not other_content or content == other_content)


class Batch(NamedTuple):
    """The inputs of one step and their targets.

    Attributes:
        inputs: ``[B, C, H, W]`` float32, normalised; or uint8 pixels, to be normalised on the device; or token ids
            ``[B, L]`` int64.
        labels: ``[B]`` int64; or ``[B, K]`` float32 rows that sum to 1, after mixup; or several tensors by name, each
            ``[B, ...]``.
        names, indices: ``[B]``, names and indices of the samples in their source.
    """

    inputs: Tensor
    labels: Tensor | dict[str, Tensor]
    names: tuple[str, ...]
    indices: Tensor

    @property
    def classes(self) -> Tensor:
        """The labels, if they are one tensor."""
        assert isinstance(self.labels, Tensor)
        return self.labels

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, rows: slice) -> "Batch":
        """Some samples of the batch."""
        part = self.map(lambda tensor: tensor[rows])
        return part._replace(names=self.names[rows], indices=self.indices[rows])

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with `change` applied to inputs and labels."""
        labels = self.labels
        new_labels = change(labels) if isinstance(labels, Tensor) else {n: change(t) for n, t in labels.items()}
        return self._replace(inputs=change(self.inputs), labels=new_labels)

    def tensors(self) -> dict[str, Tensor]:
        """Inputs and labels as named tensors, for a file."""
        labels = {"labels": self.labels} if isinstance(self.labels, Tensor) else self.labels
        return {"inputs": self.inputs, **labels}
