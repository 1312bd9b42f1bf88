"""LayerScale inside the linear map in front of it: γ ⊙ (W x + b) = (diag γ W) x + γ ⊙ b.

Recorded attention and tokens are the same.
"""

import torch
from torch import nn

from saccade.nn.attention import MultiHeadAttention
from saccade.nn.transformer import Block, LayerScale


def fold_layer_scale(model: nn.Module) -> nn.Module:
    """Change every block of a model in place, and return the model."""
    for block in model.modules():
        if not isinstance(block, Block):
            continue
        if isinstance(block.attn, MultiHeadAttention):
            block.ls1 = fold_factor(block.ls1, block.attn.proj)
        block.ls2 = fold_factor(block.ls2, block.mlp.fc2)
        if block.cross_attention and isinstance(block.cross_attn, MultiHeadAttention):
            block.ls_cross = fold_factor(block.ls_cross, block.cross_attn.proj)
    return model


@torch.no_grad()
def fold_factor(scale: nn.Module, linear: nn.Linear) -> nn.Module:
    """What remains of the factor; the linear map in front of it is changed in place."""
    if not isinstance(scale, LayerScale):
        return scale
    linear.weight.mul_(scale.gamma[:, None])
    if linear.bias is not None:
        linear.bias.mul_(scale.gamma)
    return nn.Identity()
