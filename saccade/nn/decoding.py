"""One token at a time: what attention computed for the tokens before is kept, and not computed again.

B sequences, H heads, N tokens so far, M tokens of the memory, D width, d of a head.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from saccade.nn.attention import MultiHeadAttention, attend
from saccade.nn.transformer import Block


class Memory(NamedTuple):
    """What an encoder has read: tokens ``[B, M, D]``, and which of them are there, ``[B, 1, 1, M]``; None: all."""

    tokens: Tensor
    mask: Tensor | None

    def row(self, index: int, times: int = 1) -> "Memory":
        """One sequence, several times."""
        rows = slice(index, index + 1)
        mask = None if self.mask is None else self.mask[rows].expand(times, -1, -1, -1)
        return Memory(self.tokens[rows].expand(times, -1, -1), mask)


@dataclass
class Past:
    """Keys and values of a decoder's block: of the tokens so far ``[B, H, N, d]``, of the memory ``[B, H, M, d]``."""

    keys: Tensor | None = None
    values: Tensor | None = None
    memory_keys: Tensor | None = None
    memory_values: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens so far."""
        return 0 if self.keys is None else self.keys.shape[2]

    def rows(self, chosen: Tensor) -> "Past":
        """Some of the sequences, in another order, or several times."""
        return Past(*(None if part is None else part[chosen] for part in vars(self).values()))


def decode_step(block: Block, x: Tensor, past: Past, memory: Tensor, memory_mask: Tensor | None) -> Tensor:
    """What a decoder's block makes of new tokens ``[B, n, D]`` that see all before them: the same as
    ``block(all tokens, memory)`` gives for the last n. `past` grows by them."""

    def attend_self(tokens: Tensor) -> Tensor:
        attention = block.attn
        q, k, v = (attention.split_heads(part) for part in attention.project(tokens, tokens, tokens))
        past.keys = k if past.keys is None else torch.cat((past.keys, k), dim=2)
        past.values = v if past.values is None else torch.cat((past.values, v), dim=2)
        return merged(attention, q, past.keys, past.values, None)

    def attend_memory(tokens: Tensor) -> Tensor:
        attention = block.cross_attn
        if past.memory_keys is None or past.memory_values is None:
            q, k, v = (attention.split_heads(part) for part in attention.project(tokens, memory, memory))
            past.memory_keys, past.memory_values = k, v
        else:
            q = attention.split_heads(attention.queries(tokens))
        return merged(attention, q, past.memory_keys, past.memory_values, memory_mask)

    if x.shape[1] > 1:
        raise ValueError(f"a step takes one token of each sequence, not {x.shape[1]}")
    x = block.residual(x, block.norm1, attend_self, block.ls1)
    x = block.residual(x, block.norm_cross, attend_memory, block.ls_cross)
    return block.residual(x, block.norm2, block.mlp, block.ls2)


def merged(attention: MultiHeadAttention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attend, tell whoever records, bring the heads together: -> ``[B, n, D]``."""
    out = attend(q, k, v, mask)
    if attention.tap is not None:
        attention.tap(q, k, v, mask, out)
    return attention.proj(out.transpose(1, 2).flatten(2))
