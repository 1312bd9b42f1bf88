"""The mask head of DETR (Carion et al., arXiv 2005.12872, figure 8): a mask for each box, from where its query looks.

Each query's attention to the map, one picture a head, joins the map itself; five convolutions double its size three
times while the backbone's finer maps are added, and leave one number a place.

B batch, Q queries, D width, R heads, h x w map.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BoxAttention(nn.Module):
    """How much each query looks at each place, over all heads together: -> ``[B, Q, R, h, w]`` that sums to 1."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, memory: Tensor, seen: Tensor | None) -> Tensor:
        """``queries [B, Q, D]``, ``memory [B, D, h, w]``, which places are image ``[B, h, w]``."""
        q = self.q(queries).unflatten(2, (self.num_heads, -1))  # [B, Q, R, d]
        k = F.conv2d(memory, self.k.weight[:, :, None, None], self.k.bias).unflatten(1, (self.num_heads, -1))
        scores = torch.einsum("bqrd,brdhw->bqrhw", q / math.sqrt(q.shape[-1]), k)
        if seen is not None:
            scores = scores.masked_fill(~seen[:, None, None], -math.inf)
        return scores.flatten(2).softmax(dim=-1).view_as(scores)


class ConvGroup(nn.Sequential):
    """3 x 3 convolution, group norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        norm = nn.GroupNorm(math.gcd(8, out_channels), out_channels)
        super().__init__(nn.Conv2d(in_channels, out_channels, 3, padding=1), norm, nn.ReLU())


class MaskHead(nn.Module):
    """Map and looks to masks.

    Args:
        dim: D of the map.
        num_heads: R.
        channels: of the backbone's maps in front of the last, from the coarsest to the finest; up to three are used.
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

    def forward(self, projected: Tensor, looks: Tensor, finer: Sequence[Tensor]) -> Tensor:
        """``projected [B, D, h, w]``, ``looks [B, Q, R, h, w]``, the finer maps -> logits ``[B, Q, H, W]`` as large as
        the finest."""
        count = looks.shape[1]

        def each(x: Tensor) -> Tensor:
            """The same map for every query: ``[B, ...]`` -> ``[B*Q, ...]``."""
            return x[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1)

        x = self.second(self.first(torch.cat((each(projected), looks.flatten(0, 1)), dim=1)))
        for adapter, refine, map_ in zip(self.adapters, self.refine, finer):
            added = each(adapter(map_))
            x = refine(added + F.interpolate(x, size=added.shape[-2:]))
        return self.out(x).unflatten(0, (-1, count))[:, :, 0]
