"""The token layout: every token's place, and back."""

import pytest
import torch

from saccade.nn.tokens import TokenLayout

LAYOUT = TokenLayout(num_prefix=2, grid=(3, 4), stride=(8, 16))


def test_counts_and_places() -> None:
    assert (LAYOUT.num_patches, LAYOUT.num_tokens) == (12, 14)
    assert LAYOUT.index(1, 2) == 8
    assert LAYOUT.position(8) == (1, 2)
    assert LAYOUT.position(1) is None
    assert LAYOUT.box(8) == (32, 8, 48, 16)
    assert LAYOUT.box(0) is None
    assert LAYOUT.centres()[6].tolist() == [12.0, 40.0]
    for row, column in ((3, 0), (0, 4), (-1, 0)):
        with pytest.raises(IndexError):
            LAYOUT.index(row, column)
    with pytest.raises(IndexError):
        LAYOUT.position(14)


def test_maps_and_back() -> None:
    tokens = torch.randn(2, 14, 5)
    prefix, patches = LAYOUT.split(tokens)
    assert (prefix.shape[1], patches.shape[1]) == (2, 12)
    features = LAYOUT.to_map(tokens)
    assert tuple(features.shape) == (2, 5, 3, 4)
    assert torch.equal(features[:, :, 1, 2], tokens[:, LAYOUT.index(1, 2)])
    assert torch.equal(LAYOUT.from_map(features), patches)
    assert torch.equal(LAYOUT.to_map(patches), features)
    with pytest.raises(ValueError, match="do not fit"):
        LAYOUT.split(tokens[:, 1:])
    with pytest.raises(ValueError, match="does not fit"):
        LAYOUT.from_map(features.transpose(2, 3))
