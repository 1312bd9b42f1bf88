"""Attention against a float64 reference, over shapes, masks and types; against torch's own; and its edge cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from saccade.nn.attention import KVCache, MultiHeadAttention, attend, attention_weights, xavier_uniform
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


def official_weights(theirs: nn.MultiheadAttention) -> dict[str, Tensor]:
    """Weights of torch's attention by our names for separate projections."""
    weights = theirs.in_proj_weight.chunk(3) if theirs.in_proj_weight is not None else None
    weights = weights or (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
    named = {f"{name}.weight": weight for name, weight in zip("qkv", weights)}
    named |= {f"{name}.bias": bias for name, bias in zip("qkv", theirs.in_proj_bias.chunk(3))}
    return named | {f"proj.{name}": tensor for name, tensor in theirs.out_proj.state_dict().items()}


def test_packed_self_attention_equals_torchs() -> None:
    torch.manual_seed(0)
    theirs, ours = nn.MultiheadAttention(32, 4, batch_first=True), MultiHeadAttention(32, 4)
    ours.qkv.load_state_dict({"weight": theirs.in_proj_weight, "bias": theirs.in_proj_bias})
    ours.proj.load_state_dict(theirs.out_proj.state_dict())
    tokens, valid = torch.randn(2, 7, 32), torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    expected, _ = theirs(tokens, tokens, tokens, key_padding_mask=~valid)
    torch.testing.assert_close(ours(tokens, mask=padding_mask(valid)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("context", [None, 24])
def test_cross_attention_equals_torchs(context: int | None) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(32, 4, batch_first=True, kdim=context, vdim=context)
    ours = MultiHeadAttention(32, 4, packed=False, context_dim=context)
    ours.load_state_dict(official_weights(theirs))
    query, key = torch.randn(2, 5, 32), torch.randn(2, 7, context or 32)
    value, valid = torch.randn_like(key), torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    expected, _ = theirs(query, key, value, key_padding_mask=~valid)
    torch.testing.assert_close(ours(query, key, value, padding_mask(valid)), expected, atol=1e-5, rtol=1e-5)


def test_positions_may_go_to_queries_and_keys_only() -> None:
    """DETR's way: one input for queries and keys, another for values."""
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 2, packed=False)
    tokens, places = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    with_places = tokens + places
    projected = (attention.q(with_places), attention.k(with_places), attention.v(tokens))
    expected = attention.proj(attend(*map(attention.split_heads, projected)).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(with_places, with_places, tokens), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="packed=False"):
        MultiHeadAttention(16, 2)(with_places, with_places, tokens)
    with pytest.raises(ValueError, match="packed=False"):
        MultiHeadAttention(16, 2, context_dim=8)


@pytest.mark.parametrize("options", [{}, {"key_dim": 8, "value_dim": 48}, {"qkv_bias": False}])
def test_separate_projections_start_as_the_packed_one(options: dict) -> None:
    """The same random numbers give the same weights, the same output, and leave the generator in the same state."""
    torch.manual_seed(0)
    packed, after = MultiHeadAttention(16, 2, **options), torch.rand(1)
    torch.manual_seed(0)
    separate = MultiHeadAttention(16, 2, packed=False, **options)
    assert torch.equal(after, torch.rand(1))
    assert torch.equal(packed.qkv.weight, torch.cat([m.weight for m in (separate.q, separate.k, separate.v)]))
    tokens = torch.randn(2, 5, 16)
    torch.testing.assert_close(separate(tokens), packed(tokens))
    torch.manual_seed(1)
    xavier_uniform(separate)
    torch.manual_seed(1)
    nn.init.xavier_uniform_(packed.qkv.weight)
    nn.init.xavier_uniform_(packed.proj.weight)
    assert torch.equal(packed.qkv.weight, torch.cat([m.weight for m in (separate.q, separate.k, separate.v)]))
    assert torch.equal(packed.proj.weight, separate.proj.weight)


def test_a_cache_gives_what_the_whole_sequence_gives() -> None:
    torch.manual_seed(0)
    tokens, memory = torch.randn(2, 5, 16), torch.randn(2, 3, 16)
    own, cross = MultiHeadAttention(16, 2), MultiHeadAttention(16, 2, packed=False)
    own_cache, cross_cache = KVCache(), KVCache()
    parts = []
    for x in tokens.split([1, 2, 1, 1], dim=1):
        mask = causal_mask(x.shape[1], own_cache.length + x.shape[1])
        parts.append(cross(own(x, mask=mask, cache=own_cache), memory, cache=cross_cache))
    assert (own_cache.length, cross_cache.length) == (5, 3)
    torch.testing.assert_close(torch.cat(parts, 1), cross(own(tokens, mask=causal_mask(5)), memory))
    chosen = own_cache.select(torch.tensor([1, 1]))
    assert chosen.keys is not None
    assert own_cache.keys is not None
    assert torch.equal(chosen.keys, own_cache.keys[[1, 1]])
    assert KVCache().select(torch.tensor([0])).length == 0


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
