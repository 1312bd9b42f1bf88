"""What a task is: the only place that knows targets, losses, decoding and metrics. The loop, the predictor and the
report ask it."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from saccade.data.samples import Batch


class Task(Protocol):
    """One kind of question that a model answers about images."""

    name: str
    labels: tuple[str, ...]
    goal: str  # the metric by which a run is judged, higher is better
    smallest_loss: float  # of a perfect answer, in nats

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The model's outputs for a batch -> the mean loss, a scalar."""
        ...

    def score(self, outputs: Tensor, batch: Batch) -> Tensor:
        """How many of the batch are right, a scalar: what a progress display shows."""
        ...

    def decode(self, outputs: Tensor, names: Sequence[str], *, top: int = 5) -> list[Any]:
        """Raw outputs -> one typed prediction an image."""
        ...

    def measure(self, outputs: Tensor, targets: Tensor) -> Any:
        """All outputs and targets of a split -> typed metrics with `to_dict()`."""
        ...
