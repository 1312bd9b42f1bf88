"""Patches: the linear and the convolution form are the same numbers; sizes that do not fit are explained or padded."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.nn.patches import (
    PatchEmbed,
    conv_kernel,
    linear_weight,
    pad_images,
    patchify,
    require_multiple,
    unpatchify,
)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3), channels=st.integers(1, 5), rows=st.integers(1, 4), columns=st.integers(1, 4),
    p=st.integers(1, 5), q=st.integers(1, 5),
)  # fmt: skip
def test_linear_form_equals_convolution(batch, channels, rows, columns, p, q) -> None:
    images = torch.randn(batch, channels, rows * p, columns * q, dtype=torch.float64)
    embed = PatchEmbed((p, q), channels, 6).double()
    patches = patchify(images, (p, q))
    assert tuple(patches.shape) == (batch, rows * columns, p * q * channels)
    found = embed(images)
    assert found.grid == (rows, columns)
    linear = F.linear(patches, linear_weight(embed.proj.weight), embed.proj.bias)
    torch.testing.assert_close(found.tokens, linear)
    assert torch.equal(conv_kernel(linear_weight(embed.proj.weight), (p, q)), embed.proj.weight)
    assert torch.equal(unpatchify(patches, (rows, columns), (p, q)), images)


def test_patches_are_read_row_by_row() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert patchify(image, (2, 2))[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize(
    ("size", "legal"),
    [((225, 224), "224 x 224 or 240 x 224"), ((10, 30), "16 x 16 or 16 x 32"), ((224, 225), "224 x 224 or 224 x 240")],
)
def test_a_size_that_does_not_fit_names_the_nearest(size, legal) -> None:
    with pytest.raises(ValueError, match=f"resize it to {legal}"):
        require_multiple(size, (16, 16))


def test_padding_is_masked() -> None:
    embed = PatchEmbed((4, 4), 3, 8, pad=True)
    found = embed(torch.randn(2, 3, 9, 4))
    assert found.grid == (3, 1) == embed.grid((9, 4))
    assert found.valid is not None
    assert found.valid.all()  # each patch holds some of the image
    batch, valid = pad_images([torch.ones(3, 4, 4), torch.ones(3, 12, 8)])
    assert tuple(batch.shape) == (2, 3, 12, 8)
    assert embed(batch, valid).valid.tolist() == [[True] + [False] * 5, [True] * 6]  # type: ignore[union-attr]
