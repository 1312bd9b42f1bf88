"""The contract of a backend: it compiles a model for one batch shape into a function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from saccade.inference.rewriting import Part

Precision = Literal["f32", "bf16", "int8"]
Run = Callable[[Tensor], list[Tensor]]  # images [B, C, H, W] float32 -> the outputs, float32


@dataclass(frozen=True)
class Backend:
    """A backend that runs a model.

    Attributes:
        name: name for messages and the cache.
        packages: required packages.
        precisions: supported precisions.
        any_batch: whether the function takes batches of other lengths than the example's.
        build: (the model's part, example images [B, C, H, W], precision) -> a function of such images.
    """

    name: str
    packages: tuple[str, ...]
    precisions: tuple[Precision, ...]
    any_batch: bool
    build: Callable[[Part, Tensor, Precision], Run]
