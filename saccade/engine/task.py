"""The contract of a task: the loss in training, the predictions and the metrics in evaluation.

The training loop, the evaluation and the predictor know tasks by this contract alone. What a task needs besides (data,
model, report) is its room's: :class:`saccade.engine.room.TaskRoom`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler
from saccade.engine.results import Metrics, Result
from saccade.errors import ConfigError

Counts = Mapping[str, Tensor]  # name -> how many such things a batch holds, a scalar


class LossTerm(NamedTuple):
    """One term of the loss, or one figure, over a part of a batch."""

    total: Tensor  # [] sum over the things in this part; 0, with a gradient, where there are none
    count: str  # name of the count that divides it: of the whole batch, over all parts and processes
    weight: float = 1.0


@dataclass(frozen=True)
class LossTerms:
    """What a training step computes on a part of a batch: sums, never means.

    The mean over a whole batch is then the same however the batch is cut into parts and processes: a part with few
    boxes weighs less than a part with many.

    Attributes:
        loss: the terms of the loss.
        metrics: to show while training, without a gradient.
    """

    loss: Mapping[str, LossTerm]
    metrics: Mapping[str, LossTerm] = field(default_factory=dict)

    def value(self, counts: Counts) -> Tensor:
        """This part's share of the loss of the whole batch, a scalar.

        Args:
            counts: of the whole batch, over all parts and processes.
        """
        terms = [t.weight * t.total / torch.where(counts[t.count] > 0, counts[t.count], 1) for t in self.loss.values()]
        return torch.stack(terms).sum()


class Evaluator(Protocol):
    """How a model is run on a batch in evaluation, and what is kept of its outputs."""

    def eval_step(self, model: nn.Module, batch: Batch) -> Any:
        """The model's raw outputs for a batch."""
        ...

    def collect(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """What metrics need of a batch, by name, on the CPU: see :class:`~saccade.engine.collect.Collected`."""
        ...


class Task(Evaluator, Protocol):
    """One kind of question that a model answers about its inputs."""

    @property
    def name(self) -> str:
        """As in the table of tasks."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits; () where there are none."""
        ...

    @property
    def class_targets(self) -> tuple[str, ...]:
        """Names of the collected tensors that hold class numbers of the data, which evaluation maps to the model's;
        ``("target",)`` where an input has one class, ``[N]``, beside ``logits [N, K]``."""
        ...

    @property
    def smallest_loss(self) -> float:
        """The loss of a perfect model: above 0 with smoothed labels."""
        ...

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """How many images, boxes, words, … a batch holds: the divisors of its loss terms, known from the targets."""
        ...

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """The loss terms of a whole batch in one process; for most tasks also of a part of one."""
        ...

    def train_parts(self, model: nn.Module, parts: Sequence[Batch], world: int) -> Iterator[LossTerms]:
        """The loss terms of each part of a batch, in their order; :class:`IndependentParts` for most tasks.

        Backward runs on the terms of a part before those of the next are computed, so that the activations of one part
        are in memory at a time. The gradients of all parts in all processes add up to that of the whole batch.

        Args:
            model: possibly wrapped by DDP or FSDP.
            parts: what this process has of the batch, the same number of inputs in each.
            world: processes that share the batch; each has as many parts.
        """
        ...

    def measure(self, collected: Collected) -> Metrics:
        """The metrics of a split.

        Raises:
            ConfigError: there is nothing to measure on.
        """
        ...

    def resampler(self, collected: Collected) -> Resampler:
        """A function from a draw of the inputs to its main metrics, for :func:`saccade.engine.intervals.bootstrap`;
        from all inputs to those of :meth:`measure`."""
        ...

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        """Each prediction beside its target as plain values: the rows of `predictions.json`."""
        ...

    def input_batch(self, inputs: Sequence[Any], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        """Inputs without targets as a batch.

        Args:
            inputs: images ``[C, h, w]`` as the model's preprocessing made them; or texts.
            sizes: (H, W) of each image before that; () for texts.
            names: of each.
        """
        ...

    def decode(self, outputs: Any, batch: Batch) -> Sequence[Result]:
        """Raw outputs for a batch of :meth:`input_batch` -> one result an input."""
        ...


class IndependentParts(ABC):
    """For tasks whose loss of an input does not depend on the other inputs: a part of a batch is a batch."""

    @abstractmethod
    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms: ...

    def train_parts(self, model: nn.Module, parts: Sequence[Batch], world: int) -> Iterator[LossTerms]:
        for part in parts:
            yield self.train_step(model, part)


def image_batch(images: Sequence[Tensor], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
    """Images ``[C, h, w]`` of one shape as a batch whose labels are their original sizes, ``sizes [B, 2]`` (H, W)."""
    labels = {"sizes": torch.tensor(sizes).reshape(-1, 2)}
    return Batch(stack_images(images), labels, tuple(names), torch.arange(len(images)))


def stack_images(images: Sequence[Tensor]) -> Tensor:
    """``[B, C, H, W]``.

    Raises:
        ConfigError: the images have several shapes, since the model's preprocessing keeps their aspect ratios.
    """
    if len({image.shape for image in images}) > 1:
        raise ConfigError(
            "this model keeps the aspect ratio of images, and those of this batch differ in theirs: use a batch of 1 "
            "(batch_size=1, --batch-size 1)"
        )
    return torch.stack(tuple(images))


@runtime_checkable
class MasksPatches(Protocol):
    """A task whose predictions are those of masked patches."""

    def with_masked(self, batch: Batch, masked: Tensor) -> Batch:
        """A batch of :meth:`Task.input_batch` with the patches to mask, ``[B, N]`` boolean."""
        ...


@runtime_checkable
class MakesTargets(Protocol):
    """A task that makes its own targets, so that two models may be measured on different ones."""

    def incomparable_metrics(self, other: "Task") -> Mapping[str, str]:
        """Names of metrics that mean something else for another model of this task, each with the reason."""
        ...


@runtime_checkable
class RefinesInStages(Protocol):
    """A task whose model predicts several times, each time better."""

    def earlier_stages(self, outputs: Any) -> Sequence[Any]:
        """The raw outputs of every stage but the last, for :meth:`Task.decode`."""
        ...
