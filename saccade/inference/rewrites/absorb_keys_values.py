"""Keys and values for few queries: their projections are applied to the queries instead.

    q (W_k x + b_k)ᵀ  =  (q W_k) xᵀ + constant of the row, which the softmax cancels
    a (W_v x + b_v)   =  W_v (a x) + b_v, since the rows of a sum to 1

The products ``x W_k`` and ``x W_v`` over all N tokens are then unnecessary if few tokens are queries: the class token
in the last block, and the learned query of an attention pool. This is faster if queries x heads < 2 · width of a head.

The keys and values of that attention, and the rows of the other queries, do not exist, so it cannot be recorded.

B batch, Q queries, N tokens, H heads, D width of the tokens, d width of a head's keys, e of its values.
"""

import math

import torch
from torch import Tensor, nn

from saccade.models.clip import CLIP
from saccade.models.deit import DistilledViT
from saccade.models.vit import VisionTransformer
from saccade.models.vit_encoder import ViTEncoder
from saccade.nn.attention import Attention, KVCache, MultiHeadAttention, rows_of, split_linear
from saccade.nn.passes import Unrecordable
from saccade.nn.pooling import AttentionPool
from saccade.nn.token_merging import MergingEncoder


class AbsorbedAttention(Unrecordable, Attention):
    """The same output as the :class:`MultiHeadAttention` that it is made of, for few queries.

    Args:
        attention: self-attention, or attention to a context of the same width.
    """

    hidden = "the keys and values of its attention are never computed"

    def __init__(self, attention: MultiHeadAttention):
        super().__init__()
        heads, width = attention.num_heads, attention.key_dim
        with torch.no_grad():
            if attention.packed:
                q, k, v = split_linear(attention.qkv, attention.widths)
            else:
                q, k, v = attention.q, attention.k, attention.v
            scale = 1 / math.sqrt(width // heads)
            self.num_heads = heads
            self.q = linear(scale * q.weight, scale * q.bias if q.bias is not None else None)
            self.key = nn.Parameter(k.weight.unflatten(0, (heads, -1)).clone())  # [H, d, D]
            self.value = nn.Parameter(v.weight.unflatten(0, (heads, -1)).transpose(1, 2).clone())  # [H, D, e]
            offset = attention.proj.bias
            if v.bias is not None:
                offset = offset + attention.proj.weight @ v.bias
            self.proj = linear(attention.proj.weight, offset)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """``query [B, Q, D]`` attends to ``key [B, N, D]`` -> ``[B, Q, D]``; as :meth:`MultiHeadAttention.forward`.

        Raises:
            ValueError: every token is a query, or another argument is given.
        """
        if key is None or value is not None or cache is not None or rotation is not None:
            raise ValueError("this model is optimised for its pooled output: use the plain one for maps of tokens")
        q = self.q(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, Q, d]
        absorbed = (q @ self.key).flatten(1, 2)  # [B, H*Q, D]
        scores = (absorbed @ key.transpose(1, 2)).unflatten(1, (self.num_heads, -1))  # [B, H, Q, N]
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
        weights = scores.softmax(dim=-1)
        gathered = (weights.flatten(1, 2) @ key).unflatten(1, (self.num_heads, -1))  # [B, H, Q, D]
        return self.proj((gathered @ self.value).transpose(1, 2).flatten(2))

    def leading(
        self, x: Tensor, count: int, mask: Tensor | None = None, rotation: Tensor | None = None, *, rest: bool = False
    ) -> tuple[Tensor, ...]:
        """As :meth:`MultiHeadAttention.leading`: ``[B, N, D]`` -> ``([B, count, D],)``."""
        if rest or rotation is not None:
            raise ValueError("only the first tokens, without rotary positions, come out of an absorbed attention")
        return (self(x[:, :count], x, mask=rows_of(mask, 0, count)),)


def absorb_keys_values(model: nn.Module) -> nn.Module:
    """Change the last block of class-token classifiers and attention pools in place, and return the model.

    The last block then gives the leading tokens alone: ``feature_maps`` of the result is an error.
    """
    for module in model.modules():
        if isinstance(module, AttentionPool) and isinstance(module.attn, MultiHeadAttention):
            module.set_submodule("attn", AbsorbedAttention(module.attn))
    for encoder in pruned_encoders(model):
        last = encoder.blocks[-1]
        if isinstance(last.attn, MultiHeadAttention):
            last.attn = AbsorbedAttention(last.attn)
    return model


def pruned_encoders(model: nn.Module) -> list[ViTEncoder]:
    """The encoder of a model whose output needs the leading tokens alone; none for a part that gives maps to others."""
    owner = model.backbone if isinstance(model, CLIP) else model
    if isinstance(owner, VisionTransformer):
        encoders = [owner.encoder] if owner.config.pooling == "cls" else []
    else:
        encoders = [owner.encoder] if isinstance(owner, DistilledViT) else []
    return [
        encoder
        for encoder in encoders
        if encoder.rotary is None and len(encoder.blocks) and not isinstance(encoder.blocks, MergingEncoder)
    ]


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear map with these parameters, ``[K, D]`` and ``[K]``."""
    out = nn.utils.skip_init(
        nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None, device=weight.device, dtype=weight.dtype
    )
    assert isinstance(out, nn.Linear)
    out.weight.copy_(weight)
    if bias is not None:
        out.bias.copy_(bias)
    return out
