"""Layer norms without their factor and offset: both move into the linear map behind the norm.

    W (γ ⊙ z + β) + b  =  (W diag γ) z + (b + W β)

Recorded attention and tokens are the same; a hook on a norm receives its output before factor and offset.

Applies to the norms in front of a pre-norm block's attention and MLP. B batch, N tokens, D width.
"""

import torch
from torch import nn

from saccade.nn.attention import MultiHeadAttention
from saccade.nn.transformer import Block


def fold_norms(model: nn.Module) -> nn.Module:
    """Change every pre-norm block of a model in place, and return the model."""
    for block in model.modules():
        if isinstance(block, Block) and block.pre_norm:
            if not block.positions and isinstance(block.attn, MultiHeadAttention):
                attn = block.attn
                block.norm1 = fold_norm(block.norm1, [attn.qkv] if attn.packed else [attn.q, attn.k, attn.v])
            if isinstance(block.mlp.fc1, nn.Linear):
                block.norm2 = fold_norm(block.norm2, [block.mlp.fc1])
    return model


@torch.no_grad()
def fold_norm(norm: nn.LayerNorm, linears: list[nn.Linear]) -> nn.LayerNorm:
    """A norm without parameters; the linear maps ``[D, K]`` that read it are changed in place."""
    if not norm.elementwise_affine:
        return norm
    for linear in linears:
        offset = linear.weight @ norm.bias
        linear.bias = nn.Parameter(offset if linear.bias is None else linear.bias + offset)
        linear.weight.mul_(norm.weight)
    return nn.LayerNorm(list(norm.normalized_shape), norm.eps, elementwise_affine=False)
