"""What a task is: the only place that knows targets, losses, decoding and metrics. The loop, the predictor and the
report ask it."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from saccade.data.samples import Batch


class Metrics(Protocol):
    """How well a model did on a split."""

    @property
    def images(self) -> int:
        """How many."""
        ...

    @property
    def goal(self) -> float:
        """The number by which weights are chosen, higher is better."""
        ...

    @property
    def warning(self) -> str:
        """What is wrong with the whole, in a sentence, or ""."""
        ...

    def row(self) -> dict[str, float]:
        """Its main figures by name: a line of the run's log."""
        ...

    def to_dict(self) -> dict[str, Any]: ...


class Task(Protocol):
    """One kind of question that a model answers about images."""

    name: str
    labels: tuple[str, ...]

    @property
    def smallest_loss(self) -> float:
        """Of a perfect answer."""
        ...

    def run(self, model: nn.Module, batch: Batch) -> Any:
        """The model's raw outputs for a batch, as it is called in training."""
        ...

    def step(self, outputs: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The model's outputs for a batch -> the mean loss, a scalar; and figures to show while it trains, each a sum
        over the batch's images."""
        ...

    def keep(self, outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """What `measure` needs of a batch: outputs ``[B, ...]`` and targets ``[B, ...]``, on the CPU."""
        ...

    def decode(self, outputs: Tensor, names: Sequence[str], *, top: int = 5) -> list[Any]:
        """Kept outputs -> one typed prediction an image."""
        ...

    def truth(self, target: Tensor) -> Any:
        """One kept target as plain values, to stand beside a prediction."""
        ...

    def measure(self, outputs: Tensor, targets: Tensor) -> Metrics:
        """All kept outputs and targets of a split -> typed metrics."""
        ...
