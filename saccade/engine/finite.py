"""Non-finite outputs stop a measurement: comparisons with NaN are false, which could count as a correct prediction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from saccade.errors import MeasurementError

SHOWN = 8  # names of inputs in a message


def require_finite(outputs: Any, names: Sequence[str]) -> None:
    """Raise an error if an output of a model is NaN or infinite.

    Args:
        outputs: a tensor, or tensors in tuples, lists, mappings and dataclasses at any depth; integers are ignored.
        names: names of the B inputs of the batch; tensors ``[B, ...]`` identify the input.

    Raises:
        MeasurementError: a value is not finite; the message has the inputs.
    """
    for tensor in floating_tensors(outputs):
        finite = tensor.isfinite()
        if bool(finite.all()):
            continue
        culprits, text = list(names), "of this batch: "
        if tensor.ndim and len(tensor) == len(names):
            rows = finite.reshape(len(tensor), -1).all(dim=1).tolist()
            culprits, text = [name for name, good in zip(names, rows) if not good], "for "
        kind = "NaN" if bool(tensor.isnan().any()) else "infinite"
        listed = ", ".join(culprits[:SHOWN]) + (" …" if len(culprits) > SHOWN else "")
        raise MeasurementError(
            f"the model's outputs are {kind} {text}{listed}; nothing can be measured or predicted from them. Weights "
            "of a run that diverged are the usual cause, and half precision, which overflows at 65,504"
        )


def floating_tensors(outputs: Any) -> Iterator[Tensor]:
    """The tensors with floating-point values, at any depth."""
    if isinstance(outputs, Tensor):
        if torch.is_floating_point(outputs):
            yield outputs
    elif isinstance(outputs, Mapping):
        for value in outputs.values():
            yield from floating_tensors(value)
    elif isinstance(outputs, tuple | list):
        for value in outputs:
            yield from floating_tensors(value)
    elif is_dataclass(outputs):
        for field in fields(outputs):
            yield from floating_tensors(getattr(outputs, field.name))
