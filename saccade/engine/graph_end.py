"""A task's end of an exported graph: which named results the graph returns, and how they are measured."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from saccade.data.samples import Batch


class Trial(NamedTuple):
    """Inputs by which a file of a part is compared with PyTorch.

    Attributes:
        name: for the table, such as "7 tokens".
        inputs: by name.
    """

    name: str
    inputs: Mapping[str, Tensor]


class GraphPart(ABC):
    """A graph of its own for a part of a model that reads no images, such as an encoder of texts or a decoder's step.

    Attributes:
        name: of its file, behind the model's; "" where it is the model's file itself.
        inputs, outputs: their names, in their order.
        dims: input -> its dimensions of any length, each with a name.
        vocabulary: the files of the tokenizer that the part reads texts by; {} where that is the model's own.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dims: Mapping[str, Mapping[int, str]]
    vocabulary: Mapping[str, bytes] = {}

    def state(self, model: nn.Module) -> dict[str, Any]:
        """What the decoder needs of the model, as plain values."""
        return {}

    @abstractmethod
    def run(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name, each ``[B, ...]``."""

    @abstractmethod
    def trials(self, model: nn.Module) -> Sequence[Trial]:
        """Inputs for the comparison with PyTorch, of batches of 1, 2 and 5; the last ones are those to trace with."""


class GraphEnd(ABC):
    """From a model's input to the named results of its task, in operations that :func:`torch.export.export` traces.

    B images, h x w pixels of the model's input.
    """

    padded: ClassVar[bool] = False  # whether a batch may hold images of several sizes

    @abstractmethod
    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """The results of a batch by name, each ``[B, ...]``.

        Args:
            model: the network.
            images: ``[B, C, h, w]``, normalised.
            valid: ``[B, h, w]`` boolean, which pixels are image; all, unless :attr:`padded`.
            sizes: ``[2]`` (H, W) of the images before preprocessing, or ``[B, 2]`` where :attr:`padded`; int64.
        """

    def state(self) -> dict[str, Any]:
        """What the decoder needs beside the task's own state, as plain values."""
        return {}

    def parts(self) -> tuple[GraphPart, ...]:
        """Other graphs of the model, each in a file of its own."""
        return ()

    @abstractmethod
    def collect(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """What the task's metrics need of a batch of data with targets, as :meth:`saccade.engine.task.Task.collect`."""
