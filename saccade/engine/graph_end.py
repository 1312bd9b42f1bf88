"""The last part of an exported graph, by task: which named results the graph returns, and how they are measured."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.exported import GraphFunction
from saccade.errors import ConfigError


class Trial(NamedTuple):
    """Inputs for comparing the file of a part with PyTorch.

    Attributes:
        name: its name in the table, such as "7 tokens".
        inputs: by name.
    """

    name: str
    inputs: Mapping[str, Tensor]


class GraphPart(ABC):
    """A separate graph for a part of a model without image input, such as a text encoder or a decoder's step.

    Attributes:
        name: suffix of its file name; "" if it is the model's file itself.
        inputs, outputs: their names, in order.
        dims: input -> its dynamic dimensions, each with a name.
        vocabulary: the files of the part's tokenizer; {} if it is the model's own.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dims: Mapping[str, Mapping[int, str]]
    vocabulary: Mapping[str, bytes] = {}

    def state(self, model: nn.Module) -> dict[str, Any]:
        """Values of the model that the decoder needs."""
        return {}

    @abstractmethod
    def run(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name, each ``[B, ...]``."""

    @abstractmethod
    def trials(self, model: nn.Module) -> Sequence[Trial]:
        """Inputs for the comparison with PyTorch, in batches of 1, 2 and 5; the last ones are used for tracing."""

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        """As :meth:`GraphEnd.collect`, of a part that is the model's file itself; `batch` holds the part's input."""
        raise ConfigError("this part of a model is not measured by itself")


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
            valid: ``[B, h, w]`` boolean, which pixels are image; all True unless :attr:`padded`.
            sizes: ``[2]`` (H, W) of the images before preprocessing, or ``[B, 2]`` if :attr:`padded`; int64.
        """

    def state(self) -> dict[str, Any]:
        """Values that the decoder needs in addition to the task's own state."""
        return {}

    def parts(self) -> tuple[GraphPart, ...]:
        """Other graphs of the model, each in its own file."""
        return ()

    @abstractmethod
    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        """What the task's metrics need of a batch of data with targets, as :meth:`saccade.engine.task.Task.collect`.

        Args:
            outputs: of the graph for the images of the batch.
            batch: the images as they are in their files, with the targets.
            parts: the model's other graphs, by name.
        """
