"""Run a model over a split and collect named outputs and targets, from which metrics are computed."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.finite import require_finite
from saccade.nn.mode import evaluation_mode


class EvalSteps(Protocol):
    """How a model is run on a batch, and which outputs are collected: :class:`saccade.engine.task.Evaluator`."""

    def eval_step(self, model: nn.Module, batch: Batch) -> Any: ...

    def collect(self, outputs: Any, batch: Batch) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Collected:
    """Outputs and targets of N inputs by name, on the CPU.

    A tensor has one row per input (``logits [N, K]``), or the concatenated rows of all inputs (``boxes [M, 4]``) with a
    tensor of their counts (``num_boxes [N]``). Nothing is padded, so parts are joined row by row.

    Attributes:
        tensors: tensors by name.
        names: names of the N inputs, in order.
    """

    tensors: dict[str, Tensor]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def per_input(self, name: str, count: str) -> tuple[Tensor, ...]:
        """The rows of each input: ``per_input("boxes", "num_boxes")`` -> N tensors ``[n, 4]``."""
        return self.tensors[name].split(self.tensors[count].tolist())

    @classmethod
    def joined(cls, parts: Iterable["Collected"]) -> "Collected":
        """Several parts of a split, concatenated; empty parts are ignored."""
        parts = [part for part in parts if part.names]
        if not parts:
            return cls({}, ())
        tensors = {name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors}
        return cls(tensors, tuple(name for part in parts for name in part.names))


@torch.inference_mode()
def collect(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device | str,
    task: EvalSteps,
    *,
    precision: AbstractContextManager | None = None,
    on_inputs: Callable[[int], None] | None = None,
) -> Collected:
    """The outputs of a model in evaluation mode for every input.

    Args:
        model: the network; the mode of each of its modules is restored.
        batches: inputs of a split in order.
        device: device of the model.
        task: how the model is run and which outputs are collected.
        precision: context manager around the run, such as an autocast; float32 by default.
        on_inputs: called with the number of inputs done so far.

    Raises:
        MeasurementError: outputs are NaN or infinite; the message has the inputs.
    """
    parts: list[Collected] = []
    done = 0
    with evaluation_mode(model), precision or nullcontext():
        for batch in batches:
            batch = batch.to(device)
            outputs = task.eval_step(model, batch)
            require_finite(outputs, batch.names)
            tensors = task.collect(outputs, batch)
            require_finite(tensors, batch.names)
            parts.append(Collected({name: tensor.cpu() for name, tensor in tensors.items()}, batch.names))
            done += len(batch.names)
            if on_inputs is not None:
                on_inputs(done)
    return Collected.joined(parts)
