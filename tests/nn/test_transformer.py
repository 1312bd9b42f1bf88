"""Blocks against torch's own layers, and their options against closed forms."""

import pytest
import torch
from torch import nn

from saccade.nn.masks import causal_mask, padding_mask
from saccade.nn.mlp import Mlp, QuickGELU, make_activation
from saccade.nn.pooling import AttentionPool, masked_mean
from saccade.nn.transformer import (
    Block,
    BlockCache,
    BlockConfig,
    Decoder,
    Encoder,
    LayerScale,
    StochasticDepth,
)

SMALL = BlockConfig(embed_dim=32, num_heads=4, mlp_dim=48, norm_eps=1e-5, activation="relu")


def copy_attention(ours: nn.Module, theirs: nn.MultiheadAttention) -> None:
    if ours.packed:
        ours.qkv.load_state_dict({"weight": theirs.in_proj_weight, "bias": theirs.in_proj_bias})
    else:
        for name, weight, bias in zip("qkv", theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)):
            getattr(ours, name).load_state_dict({"weight": weight, "bias": bias})
    ours.proj.load_state_dict(theirs.out_proj.state_dict())


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_an_encoder_block_equals_torchs(norm) -> None:
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(32, 4, 48, dropout=0.0, batch_first=True, norm_first=norm == "pre").eval()
    ours = Block(BlockConfig(32, 4, 48, norm=norm, norm_eps=1e-5, activation="relu")).eval()
    with torch.no_grad():
        copy_attention(ours.attn, theirs.self_attn)
    for mine, their in (("norm1", "norm1"), ("norm2", "norm2")):
        getattr(ours, mine).load_state_dict(getattr(theirs, their).state_dict())
    ours.mlp.fc1.load_state_dict(theirs.linear1.state_dict())
    ours.mlp.fc2.load_state_dict(theirs.linear2.state_dict())
    tokens = torch.randn(2, 7, 32)
    valid = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])
    expected = theirs(tokens, src_key_padding_mask=~valid)
    found = ours(tokens, mask=padding_mask(valid))
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1, :5], expected[1, :5], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_decoder_block_equals_torchs(norm) -> None:
    torch.manual_seed(0)
    theirs = nn.TransformerDecoderLayer(32, 4, 48, dropout=0.0, batch_first=True, norm_first=norm == "pre").eval()
    ours = Block(BlockConfig(32, 4, 48, norm=norm, norm_eps=1e-5, activation="relu"), cross_attention=True).eval()
    with torch.no_grad():
        copy_attention(ours.attn, theirs.self_attn)
        copy_attention(ours.cross_attn, theirs.multihead_attn)
    for mine, their in (("norm1", "norm1"), ("norm_cross", "norm2"), ("norm2", "norm3")):
        getattr(ours, mine).load_state_dict(getattr(theirs, their).state_dict())
    ours.mlp.fc1.load_state_dict(theirs.linear1.state_dict())
    ours.mlp.fc2.load_state_dict(theirs.linear2.state_dict())
    tokens, memory = torch.randn(2, 6, 32), torch.randn(2, 9, 32)
    expected = theirs(tokens, memory, tgt_mask=~causal_mask(6))
    torch.testing.assert_close(ours(tokens, memory, mask=causal_mask(6)), expected, atol=1e-5, rtol=1e-5)


def test_positions_reach_queries_and_keys_and_not_values() -> None:
    """DETR's way: what the two attentions are given as query, key and value."""
    block = Block(SMALL, cross_attention=True, positions=True).eval()
    tokens, memory = torch.randn(1, 4, 32), torch.randn(1, 5, 32)
    pos, memory_pos = torch.randn(1, 4, 32), torch.randn(1, 5, 32)
    seen: list = []
    block.attn.register_forward_pre_hook(lambda module, args: seen.append(args[:3]))
    block.cross_attn.register_forward_pre_hook(lambda module, args: seen.append(args[:3]))
    block(tokens, memory, pos=pos, memory_pos=memory_pos)
    (q, k, v), (cross_q, cross_k, cross_v) = seen
    torch.testing.assert_close(q, v + pos)
    assert q is k
    torch.testing.assert_close(cross_k, memory + memory_pos)
    assert cross_v is memory
    assert not torch.equal(cross_q, q)
    with pytest.raises(ValueError, match="positions=True"):
        Block(SMALL)(tokens, pos=pos)
    with pytest.raises(ValueError, match="no cache"):
        block(tokens, memory, cache=BlockCache.empty())


def test_stacks_return_what_they_pass() -> None:
    encoder = Encoder(SMALL, 3).eval()
    tokens = torch.randn(2, 5, 32)
    whole = encoder(tokens, taps=(0, 2))
    x = tokens
    for i, block in enumerate(encoder):
        x = block(x)
        if i in (0, 2):
            assert torch.equal(whole.taps[i // 2], x)
    assert torch.equal(whole.tokens, x)
    with pytest.raises(ValueError, match="0 to 2"):
        encoder(tokens, taps=(3,))
    with pytest.raises(ValueError, match="needs a memory"):
        Decoder(SMALL, 1)(tokens)


def test_a_causal_decoder_does_not_see_the_future() -> None:
    decoder = Decoder(SMALL, 2).eval()
    tokens, memory = torch.randn(1, 6, 32), torch.randn(1, 4, 32)
    changed = tokens.clone()
    changed[:, 4:] += 1
    one, other = (decoder(x, memory, mask=causal_mask(6)).tokens for x in (tokens, changed))
    torch.testing.assert_close(one[:, :4], other[:, :4])
    assert not torch.allclose(one[:, 4:], other[:, 4:])


def test_stochastic_depth_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    drop = StochasticDepth(0.25)
    out = drop(torch.ones(20_000, 1, 1))
    assert out.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)
    drop.eval()
    assert torch.equal(drop(torch.ones(5, 1)), torch.ones(5, 1))
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        StochasticDepth(1.0)


def test_layer_scale_zero_makes_the_identity() -> None:
    block = Block(BlockConfig(32, 4, 48, layer_scale=0.0)).eval()
    tokens = torch.randn(2, 5, 32)
    assert torch.equal(block(tokens), tokens)
    assert LayerScale(3, 0.5)(torch.ones(1, 1, 3)).tolist() == [[[0.5, 0.5, 0.5]]]


def test_activations() -> None:
    x = torch.linspace(-4, 4, 50)
    torch.testing.assert_close(QuickGELU()(x), x * torch.sigmoid(1.702 * x))
    exact, tanh = make_activation("gelu")(x), make_activation("gelu_tanh")(x)
    assert 1e-5 < (exact - tanh).abs().max() < 1e-3
    with pytest.raises(ValueError, match="unknown activation"):
        make_activation("swish")  # type: ignore[arg-type]
    assert tuple(Mlp(8, 16)(torch.randn(2, 3, 8)).shape) == (2, 3, 8)


def test_attention_pool_and_masked_mean_leave_padding_out() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(SMALL).eval()
    tokens = torch.randn(2, 6, 32)
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    alone = pool(tokens[1:, :4])
    torch.testing.assert_close(pool(tokens, padding_mask(valid))[1:], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(masked_mean(tokens, valid)[1], tokens[1, :4].mean(0))
    torch.testing.assert_close(masked_mean(tokens), tokens.mean(1))
