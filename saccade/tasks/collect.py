"""Run a model over a split and keep what comes out: the raw material of every metric."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from saccade.data.samples import Batch


@dataclass(frozen=True)
class Collected:
    """Raw outputs ``[N, K]`` float32, targets ``[N]`` and names of N images, in their order."""

    outputs: Tensor
    targets: Tensor
    names: tuple[str, ...]

    @classmethod
    def joined(cls, parts: Iterable["Collected"]) -> "Collected":
        parts = list(parts)
        names = tuple(name for part in parts for name in part.names)
        return cls(torch.cat([p.outputs for p in parts]), torch.cat([p.targets for p in parts]), names)


@torch.inference_mode()
def collect(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device | str = "cpu",
    *,
    precision: AbstractContextManager | None = None,
    on_images: Callable[[int], None] | None = None,
) -> Collected:
    """The outputs of a model in evaluation mode for every image.

    Args:
        model: put back into the mode it had.
        batches: images of a split in order.
        device: of the model.
        precision: entered around the run, such as an autocast; float32 unless given.
        on_images: called with the number of images done so far.
    """
    outputs, targets, names = [], [], []
    training = model.training
    model.eval()
    try:
        with precision or nullcontext():
            for batch in batches:
                outputs.append(model(batch.images.to(device)).float().cpu())
                targets.append(batch.labels)
                names += batch.names
                if on_images is not None:
                    on_images(len(names))
    finally:
        model.train(training)
    if not outputs:  # a process may have no share of a small split
        return Collected(torch.empty(0, 0), torch.empty(0, dtype=torch.long), ())
    return Collected(torch.cat(outputs), torch.cat(targets), tuple(names))
