"""Pooling of tokens into one vector: attention pooling and the mean.

B batch, N tokens, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.nn.mlp import Mlp
from saccade.nn.transformer import BlockConfig, make_attention


class AttentionPool(nn.Module):
    """One learned query attends to the tokens: ``[B, N, D]`` -> ``[B, D]`` ("MAP head", Zhai et al., arXiv
    2106.04560)."""

    def __init__(self, config: BlockConfig):
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, 1, config.embed_dim))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.attn = make_attention(config, packed=False)
        self.norm = nn.LayerNorm(config.embed_dim, config.norm_eps)
        self.mlp = Mlp(config.embed_dim, config.mlp_dim, config.activation)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        pooled = self.attn(self.query.expand(x.shape[0], -1, -1), x, mask=mask)  # [B, 1, D]
        return (pooled + self.mlp(self.norm(pooled)))[:, 0]


def masked_mean(x: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over tokens ``[B, N, D]`` -> ``[B, D]``, over those that are ``valid [B, N]`` if given."""
    if valid is None:
        return x.mean(dim=1)
    weights = F.normalize(valid.to(x.dtype), p=1, dim=1)
    return (x * weights[..., None]).sum(dim=1)
