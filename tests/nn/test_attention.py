"""Attention against a float64 reference, over shapes, masks and types; against torch's own; and its edge cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from saccade.nn.attention import MultiHeadAttention, attend, attention_weights
from saccade.nn.masks import causal_mask, combine_masks, lengths_mask, padding_mask

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 3e-2}


def reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> tuple[Tensor, Tensor]:
    """Attention one query at a time, in float64, as the formula says."""
    q, k, v = q.double(), k.double(), v.double()
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    batch, heads, queries, keys = q.shape[0], q.shape[1], q.shape[2], k.shape[2]
    weights = torch.zeros(batch, heads, queries, keys, dtype=torch.float64)
    full = None if mask is None else mask.expand(batch, heads, queries, keys)
    for b in range(batch):
        for h in range(heads):
            for i in range(queries):
                scores = [scale * float(q[b, h, i] @ k[b, h, j]) for j in range(keys)]
                if full is not None and full.dtype == torch.bool:
                    scores = [s if full[b, h, i, j] else -math.inf for j, s in enumerate(scores)]
                elif full is not None:
                    scores = [s + float(full[b, h, i, j]) for j, s in enumerate(scores)]
                peak = max(scores)
                if peak == -math.inf:
                    continue
                parts = [math.exp(s - peak) for s in scores]
                weights[b, h, i] = torch.tensor([p / sum(parts) for p in parts], dtype=torch.float64)
    return weights, weights @ v


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    queries=st.integers(1, 6),
    keys=st.integers(1, 6),
    width=st.integers(1, 9),
    value_width=st.integers(1, 9),
    kind=st.sampled_from(["none", "bool", "bias", "padding", "causal", "all hidden"]),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    scale=st.sampled_from([None, 1.0, 0.3]),
    seed=st.integers(0, 10_000),
)
def test_equals_the_formula(batch, heads, queries, keys, width, value_width, kind, dtype, scale, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(batch, heads, n, d, generator=generator).to(dtype)
        for n, d in ((queries, width), (keys, width), (keys, value_width))
    )
    mask = {
        "none": lambda: None,
        "bool": lambda: torch.rand(batch, heads, queries, keys, generator=generator) < 0.5,
        "bias": lambda: torch.randn(1, heads, queries, keys, generator=generator).to(dtype),
        "padding": lambda: padding_mask(torch.rand(batch, keys, generator=generator) < 0.6),
        "causal": lambda: causal_mask(queries, max(queries, keys))[:, :keys],
        "all hidden": lambda: torch.zeros(queries, keys, dtype=torch.bool),
    }[kind]()
    weights, out = reference(q, k, v, mask, scale)
    tolerance = TOLERANCE[dtype]
    found_weights = attention_weights(q, k, mask, scale)
    found = attend(q, k, v, mask, scale)
    assert found.dtype == dtype
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found_weights.double(), weights, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(found.double(), out, atol=tolerance * 5, rtol=tolerance)


@pytest.mark.parametrize("bias", [False, True])
def test_a_row_that_hides_every_key_is_zero_and_its_gradient_too(bias: bool) -> None:
    q, k, v = (torch.randn(1, 1, 3, 4, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[True, False, True], [False] * 3, [True] * 3])
    if bias:
        mask = torch.zeros(3, 3).masked_fill(~mask, -math.inf)
    out = attend(q, k, v, mask)
    assert out[0, 0, 1].tolist() == [0] * 4
    assert attention_weights(q, k, mask)[0, 0, 1].tolist() == [0] * 3
    out.square().sum().backward()
    for tensor in (q, k, v):
        assert torch.isfinite(tensor.grad).all()
    assert q.grad[0, 0, 1].tolist() == [0] * 4


@pytest.mark.parametrize("context", [None, 24])
def test_equals_torchs_multi_head_attention(context: int | None) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(32, 4, batch_first=True, kdim=context, vdim=context)
    ours = MultiHeadAttention(32, 4, context_dim=context)
    with torch.no_grad():
        if context is None:
            ours.qkv.weight.copy_(theirs.in_proj_weight)
            ours.qkv.bias.copy_(theirs.in_proj_bias)
        else:
            ours.q.weight.copy_(theirs.q_proj_weight)
            ours.kv.weight.copy_(torch.cat((theirs.k_proj_weight, theirs.v_proj_weight)))
            ours.q.bias.copy_(theirs.in_proj_bias[:32])
            ours.kv.bias.copy_(theirs.in_proj_bias[32:])
        ours.proj.load_state_dict(theirs.out_proj.state_dict())
    query, key = torch.randn(2, 5, 32), torch.randn(2, 7, context or 32)
    value, valid = torch.randn_like(key), torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    expected, _ = theirs(query, key, value, key_padding_mask=~valid)
    torch.testing.assert_close(ours(query, key, value, padding_mask(valid)), expected, atol=1e-5, rtol=1e-5)


def test_positions_may_go_to_queries_and_keys_only() -> None:
    """DETR's way: three different inputs use the same weights as one."""
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 2)
    tokens, places = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    with_places = tokens + places
    q, k, v = (m for m in attention.qkv.weight.chunk(3))
    bias = attention.qkv.bias.chunk(3)
    heads = [
        attention.split_heads(x)
        for x in (with_places @ q.T + bias[0], with_places @ k.T + bias[1], tokens @ v.T + bias[2])
    ]
    expected = attention.proj(attend(*heads).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(with_places, with_places, tokens), expected, atol=1e-5, rtol=1e-5)


def test_value_width_may_differ_from_key_width() -> None:
    attention = MultiHeadAttention(32, 4, key_dim=16, value_dim=64)
    assert tuple(attention(torch.randn(2, 5, 32)).shape) == (2, 5, 32)
    with pytest.raises(ValueError, match="heads"):
        MultiHeadAttention(30, 4)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 2, dropout=0.5)
    tokens = torch.randn(1, 6, 16)
    assert not torch.equal(attention(tokens), attention(tokens))
    attention.eval()
    assert torch.equal(attention(tokens), attention(tokens))


def test_masks() -> None:
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True] * 3]
    assert causal_mask(1, 3).tolist() == [[True] * 3]
    assert lengths_mask(torch.tensor([1, 3]), 3)[:, 0, 0].tolist() == [[True, False, False], [True] * 3]
    both = combine_masks(causal_mask(3), None, lengths_mask(torch.tensor([2]), 3))
    assert both is not None
    assert both[0, 0].tolist() == [[True, False, False], [True, True, False], [True, True, False]]
    assert combine_masks(None, None) is None
    with pytest.raises(ValueError, match="boolean"):
        padding_mask(torch.ones(2, 3))
