"""The contract of a task: the loss in training, the predictions and the metrics in evaluation.

The training loop, the evaluation and the predictor use tasks only through this contract. Everything else of a task
(data, model, report) belongs to its room: :class:`saccade.engine.room.TaskRoom`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler
from saccade.engine.results import Metrics, Result
from saccade.errors import ConfigError

Counts = Mapping[str, Tensor]  # name -> how many such things a batch holds, a scalar
Direction = Literal["higher", "lower"]


class LossTerm(NamedTuple):
    """One term of the loss, or one metric, over a part of a batch."""

    total: Tensor  # [] sum over the things in this part; 0, with a gradient, where there are none
    count: str  # name of the count that divides it: of the whole batch, over all parts and processes
    weight: float = 1.0


@dataclass(frozen=True)
class LossTerms:
    """Loss terms of a part of a batch: sums, never means.

    The mean over a whole batch then does not depend on how the batch is divided into parts and processes: a part with
    few boxes weighs less than a part with many.

    Attributes:
        loss: the terms of the loss.
        metrics: metrics to show during training, without a gradient.
    """

    loss: Mapping[str, LossTerm]
    metrics: Mapping[str, LossTerm] = field(default_factory=dict)

    def value(self, counts: Counts) -> Tensor:
        """This part's contribution to the loss of the whole batch, a scalar.

        Args:
            counts: counts of the whole batch, over all parts and processes.
        """
        terms = [t.weight * t.total / torch.where(counts[t.count] > 0, counts[t.count], 1) for t in self.loss.values()]
        return torch.stack(terms).sum()


class Evaluator(Protocol):
    """How a model is run on a batch in evaluation, and which outputs are collected."""

    def eval_step(self, model: nn.Module, batch: Batch) -> Any:
        """The model's raw outputs for a batch."""
        ...

    def collect(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Tensors of a batch that metrics need, by name, on the CPU: see :class:`~saccade.engine.collect.Collected`."""
        ...


class Task(Evaluator, Protocol):
    """One kind of prediction, such as classification or detection."""

    @property
    def name(self) -> str:
        """Name in the table of tasks."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits; () if there are none."""
        ...

    @property
    def class_targets(self) -> tuple[str, ...]:
        """Names of the collected tensors that hold class numbers of the data, which evaluation maps to the model's;
        ``("target",)`` if an input has one class, ``[N]``, in addition to ``logits [N, K]``."""
        ...

    @property
    def smallest_loss(self) -> float:
        """The loss of a perfect model: above 0 with smoothed labels."""
        ...

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Number of images, boxes, words, … in a batch: the divisors of its loss terms, determined by the targets."""
        ...

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """The loss terms of a whole batch in one process; for most tasks also of a part of a batch."""
        ...

    def train_parts(self, model: nn.Module, parts: Sequence[Batch], world: int) -> Iterator[LossTerms]:
        """The loss terms of each part of a batch, in order; :class:`IndependentParts` for most tasks.

        Backward runs on the terms of a part before those of the next are computed, so that the activations of one part
        are in memory at a time. The gradients of all parts in all processes add up to that of the whole batch.

        Args:
            model: possibly wrapped by DDP or FSDP.
            parts: this process's parts of the batch, with the same number of inputs each.
            world: processes that share the batch; each has the same number of parts.
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
        """Each prediction with its target as plain values: the rows of `predictions.json`."""
        ...

    def input_batch(self, inputs: Sequence[Any], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        """Inputs without targets as a batch.

        Args:
            inputs: preprocessed images ``[C, h, w]``, or texts.
            sizes: (H, W) of each image before preprocessing; () for texts.
            names: name of each input.
        """
        ...

    def decode(self, outputs: Any, batch: Batch) -> Sequence[Result]:
        """Raw outputs for a batch of :meth:`input_batch` -> one result an input."""
        ...


class IndependentParts(ABC):
    """For tasks in which the loss of an input does not depend on the other inputs: a part of a batch is itself a
    batch."""

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
    """A task that makes its own targets, so that two models may be measured on different targets."""

    def incomparable_metrics(self, other: "Task") -> Mapping[str, str]:
        """Names of metrics that are not comparable with another model of this task, each with the reason."""
        ...


@runtime_checkable
class GivesProbabilities(Protocol):
    """A task whose model gives each class of an input a probability."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of the classes, ``[..., K]`` for logits ``[..., K]``."""
        ...


@runtime_checkable
class RanksMetrics(Protocol):
    """A task that states of which metrics the higher or the lower value is better; the others are no qualities."""

    better: Mapping[str, Direction]


@runtime_checkable
class RefinesInStages(Protocol):
    """A task whose model refines its prediction in several stages."""

    def earlier_stages(self, outputs: Any) -> Sequence[Any]:
        """The raw outputs of every stage but the last, for :meth:`Task.decode`."""
        ...
