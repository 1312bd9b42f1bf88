"""Your own data set: any object with a length that returns (input, target) pairs by index."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor, tensor
from torch.utils.data import Dataset, default_collate

from saccade.data.batching import Item
from saccade.data.samples import Batch


class Pairs(Protocol):
    """An indexable object, such as a :class:`torch.utils.data.Dataset` or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


class OwnDataset(Dataset):
    """The data set in the form of the training loop.

    Args:
        source: returns (input, target) by index; a target is a number, a tensor, or a dict of tensors by name.
        augment: (input, seed) -> input, for training; the seed is a function of the run's seed, the epoch and the
            index, so that a resumed run repeats it.
    """

    cache = None

    def __init__(self, source: Pairs, augment: Callable[[Any, tuple[int, ...]], Any] | None = None):
        self.source, self.augment = source, augment

    def __getitem__(self, item: Item) -> tuple[Any, Any, int]:
        index, seed = item
        inputs, target = self.source[index]
        if self.augment is not None and seed:
            inputs = self.augment(inputs, seed)
        return inputs, target, index

    @staticmethod
    def collate(samples: Sequence[tuple[Any, Any, int]]) -> tuple[Batch, list[str]]:
        """(the batch, no broken inputs)."""
        inputs, targets, indices = zip(*samples)
        labels: Tensor | dict[str, Tensor] = default_collate(list(targets))
        return Batch(default_collate(list(inputs)), labels, tuple(map(str, indices)), tensor(indices)), []
