"""Batches of samples in an order that is a function of the seed, so that any process can repeat any step.

Step t of a run always has the same images with the same augmentation, whether the run started at step 0 or at t, with 0
workers or 8, in one process or in four.
"""

import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from saccade.data.augmentation import ImageTransform, PixelTransform
from saccade.data.samples import Batch, ImageSource, Source, pixels_of
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.workers import end_with_parent, worker_errors
from saccade.errors import ConfigError, DataError, ImageError

CACHE_BYTES = 256 * 2**20  # largest data set whose preprocessed images are cached in memory
RESIDENT_BYTES = 2**30  # largest training split whose pixels are stored on the device
LOADED_AT_ONCE = 64
MAX_ATTEMPTS = 100  # broken images in a row that are skipped
MAX_BROKEN_FRACTION = 0.01  # of the images; skipping more would hide a problem

T = TypeVar("T")
# The index of a sample, and the numbers that seed its augmentation; () in evaluation.
Item = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class BalancedClasses:
    """Balanced sampling: every class has the same number of samples in an epoch, whatever its number of images.

    In a class with fewer images than samples, all images are drawn equally often, to within one; from a larger class
    other images are drawn in every epoch. The samples of an epoch are a function of the seed and the epoch.

    Attributes:
        labels: ``[N]`` int64, the class of each image; a class without images has no samples.
    """

    labels: Tensor

    def epoch(self, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """(image, number of earlier draws in this epoch) of each of the N samples, ``[N]`` int64 each."""
        count = len(self.labels)
        classes = self.labels.unique()
        generator = torch.Generator().manual_seed(mix_seed(seed, epoch, RandomStream.ORDER))
        # Places that cannot be divided evenly go to other classes in every epoch.
        extra = torch.randperm(len(classes), generator=generator)[: count % len(classes)]
        images, draws = [], []
        for place, label in enumerate(classes):
            members = (self.labels == label).nonzero()[:, 0]
            size = count // len(classes) + int((extra == place).any())
            rounds = -(-size // len(members))
            order = torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(rounds)])
            images.append(order[:size])
            draws.append(torch.arange(size) // len(members))
        shuffle = torch.randperm(count, generator=generator)
        return torch.cat(images)[shuffle], torch.cat(draws)[shuffle]


@dataclass(frozen=True)
class TrainOrder:
    """The order of the training samples, which determines the batch of every step.

    With repeated augmentation an epoch has as many samples as without: `repeats` views each of the first part of the
    shuffled images, as DeiT's RASampler (Touvron et al., arXiv 2012.12877). An epoch then costs the same with and
    without it.

    Attributes:
        num_images: number of images in the training split.
        batch_size: batch size of one optimizer step, over all processes.
        seed: of the run.
        repeats: number of views of an image in its batch, each with another augmentation.
        rank, world: index and number of processes; each has consecutive rows of the batch.
        classes: samples all classes equally often; None to sample every image once per epoch.
        subset: indices in the source of the `num_images` images in use; None for all.
    """

    num_images: int
    batch_size: int
    seed: int
    repeats: int = 1
    rank: int = 0
    world: int = 1
    classes: BalancedClasses | None = None
    subset: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.batch_size % self.world:
            raise ConfigError(f"a batch of {self.batch_size} cannot be divided evenly among {self.world} processes")
        if self.images_per_batch > self.num_images:
            raise ConfigError(
                f"a batch of {self.images_per_batch} different images, but there are only {self.num_images} to train "
                f"on: set --batch-size to {self.num_images * self.repeats} or less"
            )

    @property
    def images_per_batch(self) -> int:
        """Number of different images in the first batch; a later batch may have views of one more."""
        return -(-self.batch_size // self.repeats)

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches in an epoch, at least one; the remainder, different in every epoch, is dropped."""
        return max(1, self.num_images // self.batch_size)

    @property
    def rows(self) -> slice:
        """This process's rows of every batch."""
        local = self.batch_size // self.world
        return slice(self.rank * local, (self.rank + 1) * local)

    def items(self, step: int) -> list[Item]:
        """This process's part of the batch of a step."""
        epoch, batch_index = divmod(step, self.steps_per_epoch)
        start = batch_index * self.batch_size
        stop = start + self.batch_size
        order, draws = _epoch(self.num_images, self.seed, epoch, self.classes)
        items: list[Item] = []
        last = None  # place of the last sample
        # Sample p of the epoch is view p % repeats of image order[p // repeats]. The views of one image are apart, and
        # each has another neighbour, because mixup and cutmix mix neighbours.
        for repeat in range(self.repeats):
            part = slice(-((repeat - start) // self.repeats), -((repeat - stop) // self.repeats))
            indices, draw = order[part], draws[part]
            if repeat:
                generator = torch.Generator().manual_seed(mix_seed(self.seed, step, RandomStream.REPEATS, repeat))
                shuffle = torch.randperm(len(indices), generator=generator)
                if len(indices) > 1 and last == indices[shuffle[0]]:
                    shuffle = shuffle.roll(1)
                indices, draw = indices[shuffle], draw[shuffle]
            # An image that is drawn again has another augmentation, as one more view.
            places = indices.tolist()
            last = places[-1] if places else last
            images = places if self.subset is None else [self.subset[place] for place in places]
            items += [
                (index, (self.seed, epoch, index, repeat + self.repeats * again))
                for index, again in zip(images, draw.tolist())
            ]
        return items[self.rows]


@lru_cache(maxsize=2)
def _epoch(count: int, seed: int, epoch: int, classes: BalancedClasses | None) -> tuple[Tensor, Tensor]:
    """(image, number of earlier draws) of each sample of an epoch, cached for its steps."""
    if classes is not None:
        return classes.epoch(seed, epoch)
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch, RandomStream.ORDER))
    return torch.randperm(count, generator=generator), torch.zeros(count, dtype=torch.int64)


@dataclass
class ImageDataset(Dataset):
    """The preprocessed images of a source; `cache` stores them, for deterministic transforms."""

    source: ImageSource
    transform: ImageTransform
    skip_bad: bool = False
    cache: dict[int, Tensor] | None = field(default=None, repr=False)

    def __getitem__(self, item: Item) -> tuple[Tensor, int, str, int, str]:
        """(image [C, H, W], label, name, index, errors of the broken images that it replaces)."""
        index, key = item
        image, index, skipped = first_readable(len(self.source), index, lambda i: self._inputs(i, key), self.skip_bad)
        return image, int(self.source.labels[index]), self.source.names[index], index, skipped

    @staticmethod
    def collate(samples: Sequence[tuple[Tensor, int, str, int, str]]) -> tuple[Batch, list[str]]:
        """(the batch, errors of broken images that were skipped)."""
        images, labels, names, indices, skipped = zip(*samples)
        batch = Batch(torch.stack(images), torch.tensor(labels), names, torch.tensor(indices))
        return batch, [line for lines in skipped if lines for line in lines.split("\n")]

    def _inputs(self, index: int, key: tuple[int, ...]) -> Tensor:
        if self.cache is None:
            return self._read(index, key)
        if index not in self.cache:
            self.cache[index] = self._read(index, key)
        return self.cache[index]

    def _read(self, index: int, key: tuple[int, ...]) -> Tensor:
        preprocessing = self.transform.preprocessing
        if preprocessing.resizes_levels:
            return self.transform(pixels_of(self.source, index, preprocessing.channels), key)
        return self.transform(self.source.image(index, preprocessing.channels), key)


def image_dataset(
    source: ImageSource, transform: ImageTransform, size: tuple[int, int, int], skip_bad: bool = False
) -> ImageDataset:
    """A data set, cached if its transform is deterministic and it fits into memory; `size` is [C, H, W] of its
    tensors."""
    channels, height, width = size
    fits = transform.deterministic and len(source) * channels * height * width * 4 <= CACHE_BYTES
    return ImageDataset(source, transform, skip_bad, {} if fits else None)


def first_readable(count: int, index: int, read: Callable[[int], T], skip_bad: bool) -> tuple[T, int, str]:
    """(the result of `read`, the index that was read, the errors of skipped images, one line each).

    With `skip_bad` a broken one of `count` images is replaced by the next one that can be read.
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
    raise DataError("no image can be read")


class BatchDataset(Protocol):
    """Preprocessed samples, and the function that collates them into a batch."""

    @property
    def source(self) -> Source: ...

    @property
    def cache(self) -> object | None: ...

    def __getitem__(self, item: Item) -> Any: ...

    def collate(self, samples: Any) -> tuple[Batch, list[str]]: ...


class Order(Protocol):
    """Which samples are in the batch of a step."""

    def items(self, step: int) -> list[Item]: ...


class TrainBatches:
    """The batches of steps `start` to `stop`; `skipped` has the errors of broken images that were skipped."""

    def __init__(self, dataset: BatchDataset, order: Order, *, start: int, stop: int, workers: int):
        self.order = order
        self.start, self.stop = start, stop
        self.skipped: dict[str, None] = {}
        self._limit = max(1, int(len(dataset.source) * MAX_BROKEN_FRACTION))
        sampler = _Steps(order, start, stop)
        self._loader = DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_sampler=sampler,  # type: ignore[arg-type]  # yields the items of the data set
            num_workers=workers,
            worker_init_fn=end_with_parent,
            multiprocessing_context=_start_method(workers),
            collate_fn=dataset.collate,
            pin_memory=torch.cuda.is_available(),
        )

    def __iter__(self) -> Iterator[Batch]:
        for batch, skipped in _one_line_errors(self._loader):
            self.skipped |= dict.fromkeys(skipped)
            if len(self.skipped) > self._limit:
                raise DataError(
                    f"more than {MAX_BROKEN_FRACTION:.0%} of the images cannot be read; the last: "
                    f"{list(self.skipped)[-1]}. Run `saccade data check`"
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


def _one_line_errors(loader: DataLoader) -> Iterator[tuple[Batch, list[str]]]:
    with worker_errors():
        yield from loader


def eval_batches(
    dataset: BatchDataset, batch_size: int, *, workers: int = 0, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """Batches of every sample once, in order; process `rank` has a consecutive part."""
    count = len(dataset.source)
    indices = range(count * rank // world, count * (rank + 1) // world)
    items = [[(i, ()) for i in indices[start : start + batch_size]] for start in range(0, len(indices), batch_size)]
    loader = DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=items,  # type: ignore[arg-type]  # as above
        num_workers=workers,
        worker_init_fn=end_with_parent,
        multiprocessing_context=_start_method(workers),
        collate_fn=dataset.collate,
    )
    return (batch for batch, _ in _one_line_errors(loader))


class ResidentBatches:
    """The batches of :class:`TrainBatches`, from images that are all stored on the device and indexed there.

    For runs without augmentation in the loader (``augmentation.where=batch``, or none). Pixels are uint8.
    """

    def __init__(
        self, dataset: BatchDataset, order: TrainOrder, device: torch.device, *, start: int, stop: int, workers: int
    ):
        self.order = order
        self.start, self.stop = start, stop
        count = len(dataset.source)
        # Loaded as one epoch of training, so that broken images are handled in the same way.
        loader = TrainBatches(dataset, _InOrder(count), start=0, stop=-(-count // LOADED_AT_ONCE), workers=workers)
        parts = list(loader)
        self.skipped = loader.skipped
        self.inputs = torch.cat([part.inputs for part in parts]).to(device)
        self.labels = torch.cat([part.classes for part in parts]).to(device)
        self.indices = torch.cat([part.indices for part in parts])
        self.names = [name for part in parts for name in part.names]

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, self.stop):
            indices = [index for index, _ in self.order.items(step)]
            rows = torch.tensor(indices)
            device_rows = rows.to(self.inputs.device)
            names = tuple(self.names[index] for index in indices)
            yield Batch(self.inputs[device_rows], self.labels[device_rows], names, self.indices[rows])


@dataclass(frozen=True)
class _InOrder:
    """Every image once, in the order of the source."""

    num_images: int

    def items(self, step: int) -> list[Item]:
        start = step * LOADED_AT_ONCE
        return [(index, ()) for index in range(start, min(start + LOADED_AT_ONCE, self.num_images))]


def fits_device(dataset: BatchDataset, size: tuple[int, int, int]) -> bool:
    """Whether the pixels of a data set fit on the device, without augmentation in the loader."""
    if not isinstance(dataset, ImageDataset):
        return False
    return isinstance(dataset.transform, PixelTransform) and len(dataset.source) * math.prod(size) <= RESIDENT_BYTES


def default_workers(dataset: BatchDataset) -> int:
    """0 for a cached data set, otherwise the number of cores minus one, at most 16; processes started by torchrun on a
    machine share the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return 0 if dataset.cache is not None else max(0, min(cores - 1, 16))


def _start_method(workers: int) -> str | None:
    """Start method of workers. A process group has threads, and a fork copies the locks that they hold, on which a
    worker can hang. With several processes, workers are therefore forked from a server without threads.
    """
    if not workers or not (dist.is_available() and dist.is_initialized()):
        return None
    multiprocessing.set_forkserver_preload([__name__])
    return "forkserver"
