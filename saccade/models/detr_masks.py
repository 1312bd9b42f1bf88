"""The mask head of DETR (Carion et al., arXiv 2005.12872, figure 8): a mask for each query, from its attention map.

The attention maps of each query, one for each head, are concatenated with the feature map; five convolutions upsample
the result three times, add the backbone's finer maps as in a feature pyramid, and predict one logit for each pixel.

B batch, Q queries, D width, R heads, h x w map.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BoxAttention(nn.Module):
    """Attention maps of the queries, normalised over all heads jointly: -> ``[B, Q, R, h*w]``, which sums to 1 for each
    query."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        for linear in (self.q, self.k):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, queries: Tensor, memory: Tensor, valid: Tensor | None) -> Tensor:
        """``queries [B, Q, D]``, ``memory [B, h*w, D]``, and ``valid [B, h, w]``, False for padding."""
        q = self.q(queries).unflatten(2, (self.num_heads, -1))  # [B, Q, R, d]
        k = self.k(memory).unflatten(2, (self.num_heads, -1))  # [B, h*w, R, d]
        scores = torch.einsum("bqrd,bnrd->bqrn", q / math.sqrt(q.shape[-1]), k)
        if valid is not None:
            scores = scores.masked_fill(~valid.flatten(1)[:, None, None], -math.inf)
        return scores.flatten(2).softmax(dim=-1).view_as(scores)


class ConvGroup(nn.Sequential):
    """3 x 3 convolution, group norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        norm = nn.GroupNorm(math.gcd(8, out_channels), out_channels)
        super().__init__(nn.Conv2d(in_channels, out_channels, 3, padding=1), norm, nn.ReLU())


class MaskHead(nn.Module):
    """Feature map and attention maps -> masks.

    Args:
        dim: D of the map.
        num_heads: R.
        channels: channels of the backbone's maps before the last, from the coarsest to the finest; up to three are
            used.
    """

    def __init__(self, dim: int, num_heads: int, channels: Sequence[int]):
        super().__init__()
        if not channels:
            raise ValueError("a mask head needs a backbone with two maps or more")
        widths = [dim // 2, dim // 4, dim // 8, dim // 16][: len(channels) + 1]
        self.first = ConvGroup(dim + num_heads, dim + num_heads)
        self.second = ConvGroup(dim + num_heads, widths[0])
        self.adapters = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels, widths))
        self.refine = nn.ModuleList(ConvGroup(a, b) for a, b in pairwise(widths))
        self.out = nn.Conv2d(widths[-1], 1, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, projected: Tensor, attention: Tensor, finer: Sequence[Tensor]) -> Tensor:
        """``projected [B, D, h, w]``, ``attention [B, Q, R, h, w]``, the finer maps -> logits ``[B, Q, H, W]`` as large
        as the finest."""
        count = attention.shape[1]

        def each(x: Tensor) -> Tensor:
            """The same map for every query: ``[B, ...]`` -> ``[B*Q, ...]``."""
            return x[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1)

        x = self.second(self.first(torch.cat((each(projected), attention.flatten(0, 1)), dim=1)))
        for adapter, refine, map_ in zip(self.adapters, self.refine, finer):
            added = each(adapter(map_))
            x = refine(added + F.interpolate(x, size=added.shape[-2:]))
        return self.out(x).unflatten(0, (-1, count))[:, :, 0]
