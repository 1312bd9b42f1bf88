"""Token merging in closed form."""

import pytest
import torch
from torch import Tensor

import saccade
from saccade.errors import InterventionError
from saccade.nn.token_merging import Merged, MergingEncoder, merge
from saccade.nn.transformer import BlockConfig, Encoder


def encoder(depth: int = 2, **options) -> Encoder:
    torch.manual_seed(0)
    return Encoder(BlockConfig(16, 2, 32, **options), depth).double().eval()


def tokens(count: int = 9) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, count, 16, dtype=torch.float64)


@pytest.mark.parametrize("leading", [None, 1])
@pytest.mark.parametrize("options", [{}, {"norm": "post", "layer_scale": 0.5}])
def test_nothing_merged_is_the_encoder(leading: int | None, options: dict) -> None:
    plain, x = encoder(**options), tokens()
    expected = plain(x, leading=leading, taps=[0])
    out = MergingEncoder(list(plain), 0, 1)(x, leading=leading, taps=[0])
    torch.testing.assert_close(out.tokens, expected.tokens, rtol=0, atol=1e-14)
    torch.testing.assert_close(out.taps[0], expected.taps[0], rtol=0, atol=1e-14)


def test_merging_equal_tokens_changes_nothing() -> None:
    """Each patch twice, side by side: the first block merges the pairs, and the last attends to them."""
    plain, x = encoder(), tokens()
    twice = torch.cat((x[:, :1], x[:, 1:].repeat_interleave(2, dim=1)), dim=1)
    merging = MergingEncoder(list(plain), 8, 1)
    expected = plain(twice, leading=1).tokens
    torch.testing.assert_close(merging(twice, leading=1).tokens, expected, rtol=0, atol=1e-12)
    # Without the bias of the sizes, attention to a prefix token counts too much.
    assert (plain(x, leading=1).tokens - expected).abs().max() > 1e-3


def test_one_merge_by_hand() -> None:
    """Four patches: the second set is 0 and 2, and patch 3 is tied to patch 0 most strongly."""
    keys = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [1.0, 0.1]]])  # prefix, four patches
    x = torch.tensor([[[5.0], [1.0], [2.0], [3.0], [7.0]]])
    out, merged = merge(x, keys, Merged.of_all(x, 1), 1)
    # prefix, patch 1 as it is, the mean of patches 0 and 3, patch 2
    assert out.tolist() == [[[5.0], [2.0], [4.0], [3.0]]]
    assert merged.sizes.tolist() == [[1.0, 1.0, 2.0, 1.0]]
    assert merged.source.tolist() == [[0, 2, 1, 3, 2]]
    assert merged.spread(out)[0, :, 0].tolist() == [5.0, 4.0, 2.0, 3.0, 4.0]
    again, merged = merge(out, keys[:, [0, 1, 1, 2]], merged, 1)  # means are weighted by size
    assert merged.sizes.sum() == 5
    assert torch.equal(merged.collect(merged.spread(again)), again)
    weighted = (again[0, 1:, 0] * merged.sizes[0, 1:]).sum()
    assert weighted == 1 + 2 + 3 + 7


def test_half_of_the_patches_is_the_most() -> None:
    x = tokens(6)
    out, merged = merge(x, x, Merged.of_all(x, 1), 100)
    assert out.shape == (2, 4, 16)
    assert merged.sizes.sum(1).tolist() == [6, 6]


@pytest.mark.parametrize("leading", [None, 1])
def test_recordings_are_of_all_tokens_and_change_no_bit(leading: int | None) -> None:
    merging, x = MergingEncoder(list(encoder(3)), 2, 1).float(), tokens().float()
    expected = merging(x, leading=leading).tokens
    with saccade.record(merging, verify=True) as trace:
        out = merging(x, leading=leading).tokens
    assert torch.equal(out, expected)
    assert list(trace.attention) == ["0.attn", "1.attn", "2.attn"]
    for weights in trace.attention.values():
        assert weights.shape == (2, 2, 9, 9)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 9))
    assert max(trace.errors.values()) < 1e-5  # the recorded weights times the values are the attention's output
    assert all(t.shape == (2, 9, 16) for t in trace.tokens.values())
    torch.testing.assert_close(trace.tokens["2"][:, :1], out[:, :1])


def test_what_needs_single_patches_is_refused() -> None:
    plain, x = encoder(), tokens()
    merging = MergingEncoder(list(plain), 2, 1)
    with pytest.raises(ValueError, match="no mask"):
        merging(x, mask=torch.ones(1, 1, 1, 9, dtype=torch.bool))
    with saccade.intervene(merging, heads={0: [0]}), pytest.raises(InterventionError, match="without token merging"):
        merging(x)
