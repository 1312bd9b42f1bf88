"""From images to batches, in an order that is a function of the seed: any step can be made again, by any process.

Step t of a run always holds the same images with the same augmentation, whether the run started at step 0 or at t, with
0 workers or 8, in one process or in four.
"""

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from saccade.data.augmentation import ImageTransform, Pixels
from saccade.data.samples import Batch, ImageSource, Source
from saccade.data.seeding import RandomStream, mix_seed
from saccade.errors import ConfigError, DataError, ImageError

CACHE_BYTES = 256 * 2**20  # prepared images that never change are kept, up to this
RESIDENT_BYTES = 2**30  # pixels of a training split that are kept on the device, up to this
LOADED_AT_ONCE = 64
MAX_ATTEMPTS = 100  # broken images in a row that are passed over
MAX_BAD_SHARE = 0.01  # of the images; with more broken ones than that, skipping them would hide a problem

T = TypeVar("T")
# What a worker is asked for: an image's index, and the numbers that seed its augmentation.
Item = tuple[int, tuple[int, ...]]


@dataclass(frozen=True)
class TrainOrder:
    """Which images are in the batch of a step.

    Attributes:
        num_images: in the training split.
        batch_size: of one optimizer step, over all processes.
        seed: of the run.
        repeats: how often an image appears in its batch, each time augmented anew.
        rank, world: this process and how many there are; each takes its consecutive rows of the batch.
    """

    num_images: int
    batch_size: int
    seed: int
    repeats: int = 1
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % (self.world * self.repeats):
            raise ConfigError(
                f"a batch of {self.batch_size} cannot be shared evenly by {self.world} processes"
                + (f" and {self.repeats} repeats" if self.repeats > 1 else "")
            )
        if self.images_per_batch > self.num_images:
            raise ConfigError(
                f"a batch of {self.images_per_batch} different images, but there are only {self.num_images} to train "
                f"on: set --batch-size to {self.num_images * self.repeats} or less"
            )

    @property
    def images_per_batch(self) -> int:
        return self.batch_size // self.repeats

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in a pass over the images; what is left over is another part in every epoch."""
        return self.num_images // self.images_per_batch

    @property
    def rows(self) -> slice:
        """This process's rows of every batch."""
        local = self.batch_size // self.world
        return slice(self.rank * local, (self.rank + 1) * local)

    def items(self, step: int) -> list[Item]:
        """This process's part of the batch of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        start = place * self.images_per_batch
        chosen = _permutation(self.num_images, self.seed, epoch)[start : start + self.images_per_batch]
        # Views of one image lie apart, because neighbours are mixed with each other.
        whole = [
            (index, (self.seed, epoch, index, repeat)) for repeat in range(self.repeats) for index in chosen.tolist()
        ]
        return whole[self.rows]


@lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the images in an epoch; kept, as steps ask for it one after the other."""
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch, RandomStream.ORDER))
    return torch.randperm(count, generator=generator)


@dataclass
class ImageDataset(Dataset):
    """The images of a source as the model takes them; with a deterministic transform made only once, if they fit."""

    source: ImageSource
    transform: ImageTransform
    skip_bad: bool = False
    cache: dict[int, Tensor] | None = field(default=None, repr=False)

    def __getitem__(self, item: Item) -> tuple[Tensor, int, str, int, str]:
        """(image [C, H, W], label, name, index, name of a broken image that was left out or "")."""
        index, key = item
        image, index, skipped = first_readable(len(self.source), index, lambda i: self._prepared(i, key), self.skip_bad)
        return image, int(self.source.labels[index]), self.source.names[index], index, skipped

    @staticmethod
    def collate(samples: Sequence[tuple[Tensor, int, str, int, str]]) -> tuple[Batch, list[str]]:
        """(the batch, names of broken images that were left out)."""
        images, labels, names, indices, skipped = zip(*samples)
        batch = Batch(torch.stack(images), torch.tensor(labels), names, torch.tensor(indices))
        return batch, [line for lines in skipped if lines for line in lines.split("\n")]

    def _prepared(self, index: int, key: tuple[int, ...]) -> Tensor:
        if self.cache is None:
            return self.transform(self.source.image(index), key)
        if index not in self.cache:
            self.cache[index] = self.transform(self.source.image(index), key)
        return self.cache[index]


def image_dataset(
    source: ImageSource, transform: ImageTransform, size: tuple[int, int, int], skip_bad: bool = False
) -> ImageDataset:
    """The data set of a loader; `size` is [C, H, W] of its tensors."""
    channels, height, width = size
    fits = transform.deterministic and len(source) * channels * height * width * 4 <= CACHE_BYTES
    return ImageDataset(source, transform, skip_bad, {} if fits else None)


def first_readable(count: int, index: int, read: Callable[[int], T], skip_bad: bool) -> tuple[T, int, str]:
    """(what `read` gives, of which image, what was wrong with those passed over, a line each).

    With `skip_bad` the next readable one of `count` images takes the place of one that is broken.
    """
    skipped: list[str] = []
    for attempt in range(count):
        try:
            return read(index), index, "\n".join(skipped)
        except ImageError as error:
            if not skip_bad or attempt == MAX_ATTEMPTS:
                raise
            skipped.append(str(error))
            index = (index + 1) % count
    raise DataError("not one image can be read")


class BatchDataset(Protocol):
    """Images as a model takes them, one by one, and how they become a batch."""

    @property
    def source(self) -> Source: ...

    @property
    def cache(self) -> object | None: ...

    def __getitem__(self, item: Item) -> Any: ...

    def collate(self, samples: Any) -> tuple[Batch, list[str]]: ...


class Order(Protocol):
    """Which images are in the batch of a step."""

    def items(self, step: int) -> list[Item]: ...


class TrainBatches:
    """The batches of steps `start` to `stop`, one after the other; `skipped` names the broken images left out."""

    def __init__(self, images: BatchDataset, order: Order, *, start: int, stop: int, workers: int):
        self.order = order
        self.start, self.stop = start, stop
        self.skipped: dict[str, None] = {}
        self._limit = max(1, int(len(images.source) * MAX_BAD_SHARE))
        sampler = _Steps(order, start, stop)
        self._loader = DataLoader(
            images,  # type: ignore[arg-type]
            batch_sampler=sampler,  # type: ignore[arg-type]  # yields the items themselves, which the data set takes
            num_workers=workers,
            worker_init_fn=_leave_interrupts_to_the_parent,
            collate_fn=images.collate,
            pin_memory=torch.cuda.is_available(),
        )

    def __iter__(self) -> Iterator[Batch]:
        for batch, skipped in self._loader:
            self.skipped |= dict.fromkeys(skipped)
            if len(self.skipped) > self._limit:
                raise DataError(
                    f"more than {MAX_BAD_SHARE:.0%} of the images cannot be read; the last: {list(self.skipped)[-1]}. "
                    "Run `saccade data check`"
                )
            yield batch


@dataclass(frozen=True)
class _Steps:
    order: Order
    start: int
    stop: int

    def __iter__(self) -> Iterator[list[Item]]:
        return (self.order.items(step) for step in range(self.start, self.stop))

    def __len__(self) -> int:
        return self.stop - self.start


def eval_batches(
    images: BatchDataset, batch_size: int, *, workers: int = 0, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """Every image once, in order; process `rank` takes its consecutive share."""
    count = len(images.source)
    share = range(count * rank // world, count * (rank + 1) // world)
    items = [[(i, ()) for i in share[start : start + batch_size]] for start in range(0, len(share), batch_size)]
    loader = DataLoader(
        images,  # type: ignore[arg-type]
        batch_sampler=items,  # type: ignore[arg-type]  # as above
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_the_parent,
        collate_fn=images.collate,
    )
    return (batch for batch, _ in loader)


class ResidentBatches:
    """As :class:`TrainBatches`, from images that all lie on the device: read once, cut into batches by index.

    For images that change only there (``augmentation.where=batch``, or not at all). Pixels come as uint8.
    """

    def __init__(
        self, images: BatchDataset, order: TrainOrder, device: torch.device, *, start: int, stop: int, workers: int
    ):
        self.order = order
        self.start, self.stop = start, stop
        count = len(images.source)
        # As a run over all images, so that what is broken is treated as there.
        whole = TrainBatches(images, _InOrder(count), start=0, stop=-(-count // LOADED_AT_ONCE), workers=workers)
        parts = list(whole)
        self.skipped = whole.skipped
        self.inputs = torch.cat([part.inputs for part in parts]).to(device)
        self.labels = torch.cat([part.classes for part in parts]).to(device)
        self.indices = torch.cat([part.indices for part in parts])
        self.names = [name for part in parts for name in part.names]

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, self.stop):
            chosen = [index for index, _ in self.order.items(step)]
            rows = torch.tensor(chosen)
            here = rows.to(self.inputs.device)
            names = tuple(self.names[index] for index in chosen)
            yield Batch(self.inputs[here], self.labels[here], names, self.indices[rows])


@dataclass(frozen=True)
class _InOrder:
    """Every image once, in the order of :class:`TrainOrder`'s interface."""

    num_images: int

    def items(self, step: int) -> list[Item]:
        start = step * LOADED_AT_ONCE
        return [(index, ()) for index in range(start, min(start + LOADED_AT_ONCE, self.num_images))]


def fits_device(images: BatchDataset, size: tuple[int, int, int]) -> bool:
    """Whether all pixels of a source are few enough to be kept on the device."""
    if not isinstance(images, ImageDataset):
        return False
    return isinstance(images.transform, Pixels) and len(images.source) * math.prod(size) <= RESIDENT_BYTES


def default_workers(images: BatchDataset) -> int:
    """0 for images that are made once and kept; else one for each core but the first."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if images.cache is not None else max(0, min(cores - 1, 16))


def _leave_interrupts_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the parent still needs the batches of the step that it finishes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
