"""Recordings in memory, the least recently used of them dropped at a limit of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from saccade.errors import RecordingError
from saccade.nn.trace import format_bytes


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


class Memory(Generic[Item]):
    """A mapping that holds at most `budget` bytes; safe for several threads.

    Args:
        budget: bytes.
    """

    def __init__(self, budget: int):
        self.budget = budget
        self._items: OrderedDict[Hashable, Item] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        with self._lock:
            return sum(item.nbytes for item in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def items(self) -> list[tuple[Hashable, Item]]:
        """The items, the least recently used first."""
        with self._lock:
            return list(self._items.items())

    def get(self, key: Hashable) -> Item | None:
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: Hashable, item: Item) -> None:
        """Store an item, and drop the least recently used others until it fits.

        Raises:
            RecordingError: the item alone is larger than the budget.
        """
        if item.nbytes > self.budget:
            raise RecordingError(
                f"this needs {format_bytes(item.nbytes)}, the explorer's memory is {format_bytes(self.budget)}: raise "
                "it with --memory, or choose a smaller --image-size"
            )
        with self._lock:
            self._items[key] = item
            self._items.move_to_end(key)
            while sum(other.nbytes for other in self._items.values()) > self.budget:
                self._items.popitem(last=False)
