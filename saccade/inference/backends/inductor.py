"""PyTorch's compiler with weights as constants. It needs a C++ compiler, and half a minute or more for each model."""

import torch
from torch import Tensor

from saccade.inference.backends.backend import Backend, Precision, Run
from saccade.inference.rewriting import Part


def build(part: Part, images: Tensor, precision: Precision) -> Run:
    compiled = torch.compile(part, options={"freezing": True})
    compiled(images)

    def run(images: Tensor) -> list[Tensor]:
        return list(compiled(images))

    return run


INDUCTOR = Backend("inductor", ("torch",), ("f32",), False, build)
