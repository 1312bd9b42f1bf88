"""Run a model over a split and keep what comes out: the raw material of every metric."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch

Run = Callable[[nn.Module, Batch], Any]  # the batch on the model's device -> raw outputs
Keep = Callable[[Any, Batch], tuple[Tensor, Tensor]]  # raw outputs -> what is kept of a batch, on the CPU


@dataclass(frozen=True)
class Collected:
    """Kept outputs ``[N, ...]`` and targets ``[N, ...]``, and the names of N images in their order."""

    outputs: Tensor
    targets: Tensor
    names: tuple[str, ...]

    @classmethod
    def joined(cls, parts: Iterable["Collected"]) -> "Collected":
        parts = list(parts)
        names = tuple(name for part in parts for name in part.names)
        return cls(stacked([p.outputs for p in parts]), stacked([p.targets for p in parts]), names)


def stacked(parts: list[Tensor]) -> Tensor:
    """Tensors ``[B_i, ...]`` one after the other; shorter ones are filled with NaN, or with -1 where they are whole
    numbers, up to the longest of every axis."""
    sizes = [max(part.shape[axis] for part in parts) for axis in range(1, parts[0].ndim)]
    filled = []
    for part in parts:
        missing = [n for size, have in zip(reversed(sizes), reversed(part.shape[1:])) for n in (0, size - have)]
        value = float("nan") if part.is_floating_point() else -1
        filled.append(F.pad(part, missing, value=value) if any(missing) else part)
    return torch.cat(filled)


@torch.inference_mode()
def collect(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device | str = "cpu",
    *,
    run: Run | None = None,
    keep: Keep | None = None,
    precision: AbstractContextManager | None = None,
    on_images: Callable[[int], None] | None = None,
) -> Collected:
    """The outputs of a model in evaluation mode for every image.

    Args:
        model: put back into the mode it had.
        batches: images of a split in order.
        device: of the model.
        run, keep: how the model is called and what stays of its outputs, as a task says; the outputs for the images in
            float32 beside the labels, unless given.
        precision: entered around the run, such as an autocast; float32 unless given.
        on_images: called with the number of images done so far.
    """
    run, keep = run or _outputs, keep or _as_they_are
    outputs, targets, names = [], [], []
    training = model.training
    model.eval()
    try:
        with precision or nullcontext():
            for batch in batches:
                batch = batch.to(device)
                kept, target = keep(run(model, batch), batch)
                outputs.append(kept)
                targets.append(target)
                names += batch.names
                if on_images is not None:
                    on_images(len(names))
    finally:
        model.train(training)
    if not outputs:  # a process may have no share of a small split
        return Collected(torch.empty(0, 0), torch.empty(0, dtype=torch.long), ())
    return Collected(stacked(outputs), stacked(targets), tuple(names))


def _outputs(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.inputs)


def _as_they_are(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    return outputs.float().cpu(), batch.classes.cpu()
