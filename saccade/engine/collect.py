"""Run a model over a split and keep what comes out, by name: the raw material of every metric."""

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
    """How a model is run on a batch, and what is kept of its outputs: :class:`saccade.engine.task.Evaluator`."""

    def eval_step(self, model: nn.Module, batch: Batch) -> Any: ...

    def collect(self, outputs: Any, batch: Batch) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Collected:
    """Outputs and targets of N inputs by name, on the CPU.

    A tensor has one row an input (``logits [N, K]``), or the rows of all inputs one after the other (``boxes [M, 4]``)
    beside a tensor that counts them (``num_boxes [N]``); nothing is padded, so parts are joined row by row.

    Attributes:
        tensors: by name.
        names: of the N inputs, in their order.
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
        """Several parts of a split one after the other; parts without inputs count for nothing."""
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
        model: each of its modules is left in the mode that it was in.
        batches: inputs of a split in order.
        device: of the model.
        task: how the model is run and what is kept of its outputs.
        precision: entered around the run, such as an autocast; float32 by default.
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
