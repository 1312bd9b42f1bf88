"""Token merging: fewer tokens from block to block of a transformer, without training (Bolya et al., arXiv 2210.09461).

After the attention of each block the r most similar pairs of patches become one token each: patches are split
alternately into two sets, each patch of the first set is matched to the most similar of the second (cosine of the keys,
mean over heads), and the r most similar pairs are merged into means weighted by the number of patches that each token
represents. Attention counts a token as often as it has patches ("proportional attention"): log s is added to its
scores.

A token of s patches then acts as s equal tokens would. Recorded weights and tokens are therefore those of all N tokens,
with the value of each merged token spread over its patches: rows sum to 1, and maps over the image need no special
code.

B batch, N tokens of the image, n remaining tokens, P prefix tokens, H heads, D width, d width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import InterventionError
from saccade.nn.attention import beside
from saccade.nn.transformer import Block, Encoded


@dataclass(frozen=True)
class Merged:
    """Which patches each token represents.

    Attributes:
        sizes: ``[B, n]``, the number of patches of each token.
        source: ``[B, N]``, the token into which each original token was merged.
        num_prefix: P; these tokens come first and are never merged.
    """

    sizes: Tensor
    source: Tensor
    num_prefix: int

    @classmethod
    def of_all(cls, x: Tensor, num_prefix: int) -> "Merged":
        """No merging: each of the tokens ``[B, N, D]`` represents itself."""
        count = torch.arange(x.shape[1], device=x.device)
        return cls(x.new_ones(x.shape[:2]), count.expand(x.shape[:2]), num_prefix)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is merged."""
        return self.sizes.shape[1] == self.source.shape[1]

    def bias(self) -> Tensor | None:
        """Bias added to the scores, ``[B, 1, 1, n]``; None where nothing is merged."""
        return None if self.is_whole else self.sizes.log()[:, None, None]

    def spread(self, x: Tensor) -> Tensor:
        """Tokens ``[B, n, D]`` or parts of heads ``[B, H, n, d]`` -> one for each of the N, in their original order."""
        index = self.source[:, None, :, None] if x.ndim == 4 else self.source[:, :, None]
        return x.gather(-2, index.expand(*x.shape[:-2], -1, x.shape[-1]))

    def collect(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`spread`: the value of each token at one of its patches."""
        places = torch.arange(self.source.shape[1], device=x.device).expand_as(self.source)
        first = torch.zeros_like(self.sizes, dtype=torch.int64).scatter(1, self.source, places)
        index = first[:, None, :, None] if x.ndim == 4 else first[:, :, None]
        return x.gather(-2, index.expand(*x.shape[:-2], -1, x.shape[-1]))


def merge(x: Tensor, keys: Tensor, merged: Merged, count: int) -> tuple[Tensor, Merged]:
    """Merge the most similar patches (bipartite soft matching).

    Args:
        x: tokens ``[B, n, D]``.
        keys: features by which tokens are compared, ``[B, n, d]``.
        merged: which patches they represent.
        count: r, the number of tokens to remove; at most half of the patches.

    Returns:
        ``[B, n - r, D]``: prefix, unmerged tokens of the first set, second set; and which patches they represent.
    """
    prefix = merged.num_prefix
    count = min(count, (x.shape[1] - prefix) // 2)
    if count <= 0:
        return x, merged
    metric = F.normalize(keys[:, prefix:], dim=-1)
    similarity = metric[:, 1::2] @ metric[:, ::2].transpose(1, 2)  # [B, a, b]
    best, partner = similarity.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    gone, stays = order[:, :count], order[:, count:].sort(dim=-1).values
    target = partner.gather(1, gone)  # [B, r], numbers in the second set

    weighted = torch.cat((x * merged.sizes[..., None], merged.sizes[..., None]), dim=-1)  # [B, n, D + 1]
    patches, width = weighted[:, prefix:], weighted.shape[-1]
    first, second = patches[:, 1::2], patches[:, ::2]
    added = first.gather(1, gone[..., None].expand(-1, -1, width))
    second = second.scatter_add(1, target[..., None].expand(-1, -1, width), added)
    left = torch.cat((weighted[:, :prefix], first.gather(1, stays[..., None].expand(-1, -1, width)), second), dim=1)
    sizes = left[..., -1]

    place = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)  # the new number of every old token
    place[:, :prefix] = torch.arange(prefix, device=x.device)
    behind = prefix + stays.shape[1]
    place[:, prefix::2] = torch.arange(behind, left.shape[1], device=x.device)
    numbers = torch.empty_like(order)
    numbers.scatter_(1, stays, torch.arange(prefix, behind, device=x.device).expand_as(stays))
    numbers.scatter_(1, gone, behind + target)
    place[:, prefix + 1 :: 2] = numbers
    return left[..., :-1] / sizes[..., None], Merged(sizes, place.gather(1, merged.source), prefix)


class MergingEncoder(nn.ModuleList):
    """The blocks of an :class:`~saccade.nn.transformer.Encoder` with merging between attention and MLP, for inference.

    Args:
        blocks: plain self-attention, packed; they are shared, not copied.
        count: r, number of tokens to remove in each block.
        num_prefix: number of tokens in front that are not merged.
    """

    def __init__(self, blocks: Sequence[Block], count: int, num_prefix: int):
        super().__init__(blocks)
        self.count, self.num_prefix = count, num_prefix

    def forward(
        self,
        x: Tensor,
        *,
        taps: Sequence[int] = (),
        mask: Tensor | None = None,
        rotation: Tensor | None = None,
        leading: int | None = None,
    ) -> Encoded:
        """Like :meth:`Encoder.forward`; the output tokens and those of the taps are spread to all N again.

        Raises:
            ValueError: a mask or a rotation, which belong to places that merged tokens no longer have.
            InterventionError: an intervention changes a block.
        """
        if mask is not None or rotation is not None:
            raise ValueError("merged tokens have no mask and no rotation: run the model without token merging")
        merged, outputs = Merged.of_all(x, self.num_prefix), {}
        for i, block in enumerate(self):
            assert isinstance(block, Block)
            alone = leading if i == len(self) - 1 and i not in taps else None
            x, merged = self.step(block, x, merged, alone)
            if i in taps:
                outputs[i] = merged.spread(x)
        if leading is None:
            x = merged.spread(x)
        return Encoded(x if leading is None else x[:, :leading], tuple(outputs[i] for i in taps))

    def step(self, block: Block, x: Tensor, merged: Merged, leading: int | None) -> tuple[Tensor, Merged]:
        """One block: ``[B, n, D]`` -> ``[B, n - r, D]``, or the first tokens ``[B, leading, D]``."""
        attn, tap, attention_tap = block.attn, block.tap, block.attn.tap
        if block.edit is not None or attn.edit is not None:
            raise InterventionError("an intervention acts on single patches: use the model without token merging")
        inputs = block.norm1(x) if block.pre_norm else x
        q, k, v = (attn.split_heads(part) for part in attn.project(inputs, None, None))
        bias = merged.bias()
        # The bias hides nothing, so that no row needs the care of `attend`.
        out = F.scaled_dot_product_attention(q if leading is None else q[:, :, :leading], k, v, attn_mask=bias)
        others = None
        if leading is not None and (tap is not None or attention_tap is not None):
            with beside(block):
                others = F.scaled_dot_product_attention(q[:, :, leading:], k, v, attn_mask=bias)
        if attention_tap is not None:
            whole = out if others is None else torch.cat((out, others), dim=2)
            q, k, v, whole = (merged.spread(part) for part in (q, k, v, whole))
            whole = merged.collect(attention_tap.fused(q, k, v, None, whole))
            out, others = (whole, None) if leading is None else (whole[:, :, :leading], whole[:, :, leading:])
        keys = k if attention_tap is None else merged.collect(k)
        first = block.add(x[:, : out.shape[2]], attn.merge_heads(out), block.norm1, block.ls1)
        if leading is None:
            first, merged = merge(first, keys.mean(dim=1), merged, self.count)
        first = block.residual(first, block.norm2, block.mlp, block.ls2)
        if tap is None:
            return first, merged
        if others is None or leading is None:
            return merged.collect(tap(merged.spread(first))), merged
        with beside(block):
            rest = block.add(x[:, leading:], attn.merge_heads(others), block.norm1, block.ls1)
            rest = block.residual(rest, block.norm2, block.mlp, block.ls2)
        tokens = tap(merged.spread(torch.cat((first, rest), dim=1)))
        return merged.collect(tokens)[:, :leading], merged
