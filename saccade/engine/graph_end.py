"""A task's end of an exported graph: which named results the graph returns, and how they are measured."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from saccade.data.samples import Batch


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

    @abstractmethod
    def collect(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """What the task's metrics need of a batch of data with targets, as :meth:`saccade.engine.task.Task.collect`."""
