"""Eager PyTorch, with weights of linear maps packed in oneDNN's layout.

The weights are packed once; GELU is computed while the product's result is in the cache. If PyTorch multiplies float32
with MKL, this uses oneDNN instead, which is faster on AMD processors.
"""

import copy

import torch
from torch import Tensor, nn

from saccade.inference.backends.backend import Backend, Precision, Run
from saccade.inference.rewriting import Part
from saccade.nn.mlp import Mlp

ACTIVATIONS = {"none": "none", "tanh": "tanh"}  # of nn.GELU -> of oneDNN


class PackedLinear(nn.Module):
    """A linear map with packed weights, optionally followed by a GELU.

    Args:
        linear: the map ``[D, K]``.
        rows: number of tokens per call for which the weights are packed; other numbers work too.
        gelu: None, or the form of the GELU: "none" (exact) or "tanh".
    """

    def __init__(self, linear: nn.Linear, rows: int, gelu: str | None = None):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.act, self.form = ("none", "") if gelu is None else ("gelu", gelu)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.act, [], self.form)


def pack_linears(model: nn.Module, rows: int) -> nn.Module:
    """Change the linear maps of a model in place, and return the model."""
    for mlp in (m for m in model.modules() if isinstance(m, Mlp)):
        if isinstance(mlp.act, nn.GELU) and isinstance(mlp.fc1, nn.Linear):
            mlp.fc1 = PackedLinear(mlp.fc1, rows, mlp.act.approximate)  # type: ignore[assignment]
            mlp.act = nn.Identity()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear(child, rows))
    return model


def build_eager(part: Part, images: Tensor, precision: Precision) -> Run:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    inner = part if dtype == torch.float32 else copy.deepcopy(part).to(dtype)

    def run(images: Tensor) -> list[Tensor]:
        return [out.float() for out in inner(images.to(dtype))]

    return run


def build_packed(part: Part, images: Tensor, precision: Precision) -> Run:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    inner = copy.deepcopy(part).to(dtype)
    layout = inner.model.token_layout((images.shape[-2], images.shape[-1]))
    pack_linears(inner, len(images) * (1 if layout is None else layout.num_tokens))

    def run(images: Tensor) -> list[Tensor]:
        return [out.float() for out in inner(images.to(dtype))]

    return run


EAGER = Backend("torch", ("torch",), ("f32", "bf16"), True, build_eager)
PACKED = Backend("torch with packed weights", ("torch",), ("f32", "bf16"), True, build_packed)
