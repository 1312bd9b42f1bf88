"""The MLP of a transformer block, and its activations.

B batch, N tokens, D width.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu", "swiglu"]


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``: the approximation that OpenAI's CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class SwiGLU(nn.Module):
    """One half of the features, after a SiLU, gates the other half (Shazeer, arXiv 2002.05202)."""

    def forward(self, x: Tensor) -> Tensor:
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value


def make_activation(name: Activation) -> nn.Module:
    """The activation module of a given name."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "gelu": nn.GELU,
        "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
        "quick_gelu": QuickGELU,
        "relu": nn.ReLU,
        "silu": nn.SiLU,
        "swiglu": SwiGLU,
    }
    if name not in makers:
        raise ValueError(f"unknown activation {name!r}; choose one of {', '.join(makers)}")
    return makers[name]()


class Mlp(nn.Module):
    """Two linear maps with a nonlinearity between them, applied to each token separately: ``[B, N, D]`` -> ``[B, N,
    D]``.

    With ``"swiglu"`` the first map is twice as wide: it makes the hidden features and their gates.
    """

    def __init__(self, embed_dim: int, hidden_dim: int, activation: Activation = "gelu", dropout: float = 0.0):
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, 2 * hidden_dim if activation == "swiglu" else hidden_dim)
        self.act = make_activation(activation)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.dropout(self.act(self.fc1(x))))
