"""Batch norm inside the convolution in front of it, and channels last in memory.

    γ (W * x + b − μ) / σ + β  =  (γ / σ W) * x + β + γ (b − μ) / σ

Recorded attention and tokens are the same; a hook on a batch norm receives its input unchanged.
"""

import torch
from torch import nn

from saccade.models.dpt_decoder import ResidualUnit
from saccade.nn.convolution import FrozenBatchNorm2d, PointConv2d, preferred_memory_format


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Change every convolution that a batch norm follows in place, and return the model."""
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                module[i + 1] = fold(module[i], module[i + 1])
        elif isinstance(module, ResidualUnit):
            for conv, name in ((module.conv1, "norm1"), (module.conv2, "norm2")):
                module.set_submodule(name, fold(conv, module.get_submodule(name)))
    return model.to(memory_format=preferred_memory_format(model))  # type: ignore[call-overload]


@torch.no_grad()
def fold(conv: nn.Module, norm: nn.Module) -> nn.Module:
    """The replacement of the norm; a convolution that a norm follows is changed in place."""
    # a subclass computes its filters in each call
    if not isinstance(conv, nn.Conv2d) or type(conv) not in (nn.Conv2d, PointConv2d):
        return norm
    if not isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
        return norm
    state = dict(norm.named_buffers()) | dict(norm.named_parameters())
    if "running_var" not in state:
        return norm
    factor = (state["running_var"] + norm.eps).rsqrt() * state.get("weight", 1.0)
    mean = state["running_mean"] if conv.bias is None else state["running_mean"] - conv.bias
    conv.bias = nn.Parameter(state.get("bias", 0.0) - mean * factor)
    conv.weight.mul_(factor[:, None, None, None])
    return nn.Identity()
