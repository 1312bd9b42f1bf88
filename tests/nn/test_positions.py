"""Positions against the code that other projects publish, and against their own formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.nn.positions import (
    FixedPositions,
    FourierPositions,
    LearnedPositions,
    fourier_features,
    grid_coordinates,
    make_positions,
    resample_positions,
    sine_positions_masked,
    sinusoidal_1d,
    sinusoidal_2d,
)


@pytest.mark.parametrize("grids", [((14, 14), (24, 24)), ((14, 14), (7, 11)), ((7, 28), (14, 14)), ((4, 4), (4, 9))])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_resampling_equals_timm(grids, prefix) -> None:
    timm = pytest.importorskip("timm.layers")
    (old, new), table = grids, torch.randn(1, prefix + grids[0][0] * grids[0][1], 16)
    expected = timm.resample_abs_pos_embed(table, new, old, num_prefix_tokens=prefix)
    torch.testing.assert_close(resample_positions(table, old, new, prefix), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("new", [(24, 24), (7, 11), (3, 30)])
def test_resampling_equals_the_google_code(new: tuple[int, int]) -> None:
    """scipy.ndimage.zoom with order 1, as google-research/vision_transformer's checkpoint.py does."""
    ndimage = pytest.importorskip("scipy.ndimage")
    table = torch.randn(1, 1 + 8 * 8, 12)
    grid = table[0, 1:].reshape(8, 8, 12).numpy()
    zoomed = ndimage.zoom(grid, (new[0] / 8, new[1] / 8, 1), order=1)
    found = resample_positions(table, (8, 8), new, 1, "bilinear-corners")
    np.testing.assert_allclose(found[0, 1:].reshape(*new, 12).numpy(), zoomed, atol=1e-5)
    assert torch.equal(found[:, :1], table[:, :1])


@settings(max_examples=40, deadline=None)
@given(h=st.integers(1, 9), w=st.integers(1, 9), nh=st.integers(1, 12), nw=st.integers(1, 12), prefix=st.integers(0, 3))
def test_resampling_keeps_prefix_and_constant_tables(h, w, nh, nw, prefix) -> None:
    table = torch.full((1, prefix + h * w, 4), 3.0)
    table[:, :prefix] = torch.randn(1, prefix, 4)
    for method in ("bicubic-antialias", "bicubic", "bilinear-corners"):
        found = resample_positions(table, (h, w), (nh, nw), prefix, method)
        assert tuple(found.shape) == (1, prefix + nh * nw, 4)
        assert torch.equal(found[:, :prefix], table[:, :prefix])
        torch.testing.assert_close(found[:, prefix:], torch.full((1, nh * nw, 4), 3.0), atol=1e-4, rtol=0)


def test_resampling_names_a_grid_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="grid of 14 x 14"):
        resample_positions(torch.zeros(1, 196, 4), (14, 14), (7, 7), 1)


def test_sinusoidal_2d_equals_maes() -> None:
    """Meta's MAE: x in the first half of the width, sine before cosine, frequencies 1 / 10000^(i / (D/4))."""
    table = sinusoidal_2d((3, 5), 16)
    for row in range(3):
        for column in range(5):
            expected = []
            for place in (column, row):
                angles = [place / 10_000 ** (i / 4) for i in range(4)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            np.testing.assert_allclose(table[row * 5 + column].numpy(), expected, atol=1e-5)


def test_sinusoidal_2d_with_endpoint_reaches_the_temperature() -> None:
    table = sinusoidal_2d((1, 2), 16, temperature=100.0, endpoint=True)
    assert table[1, 3] == pytest.approx(math.sin(1 / 100), abs=1e-6)


def test_detr_positions_equal_hugging_face() -> None:
    detr = pytest.importorskip("transformers.models.detr.modeling_detr")
    theirs = detr.DetrSinePositionEmbedding(8, normalize=True)
    valid = torch.ones(2, 5, 7, dtype=torch.bool)
    valid[1, :, 4:] = False
    valid[1, 3:] = False
    expected = theirs(shape=torch.Size((2, 16, 5, 7)), device="cpu", dtype=torch.float32, mask=valid)
    found = sine_positions_masked(valid, 16)
    if expected.ndim == 3:  # tokens last in newer versions
        found = found.flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_detr_positions_do_not_depend_on_padding() -> None:
    small = sine_positions_masked(torch.ones(1, 4, 6, dtype=torch.bool), 8)
    valid = torch.zeros(1, 9, 11, dtype=torch.bool)
    valid[:, :4, :6] = True
    torch.testing.assert_close(sine_positions_masked(valid, 8)[:, :, :4, :6], small)


def test_fourier_features_equal_perceivers() -> None:
    perceiver = pytest.importorskip("transformers.models.perceiver.modeling_perceiver")
    theirs = perceiver.PerceiverFourierPositionEncoding(6, (8, 12), concat_pos=True, sine_only=False)
    expected = theirs(index_dims=(8, 12), batch_size=1, device="cpu", dtype=torch.float32)[0]
    found = fourier_features(grid_coordinates((8, 12)), 6, (8, 12))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", ["learned", "sincos_1d", "sincos_2d", "fourier"])
def test_every_kind_gives_any_grid(kind) -> None:
    positions = make_positions(kind, (3, 4), 8)
    assert positions is not None
    for grid in ((3, 4), (5, 2), (1, 1)):
        assert tuple(positions(grid).shape) == (1, grid[0] * grid[1], 8)


def test_kinds() -> None:
    assert make_positions("none", (2, 2), 8) is None
    assert isinstance(make_positions("learned", (2, 2), 8, 1), LearnedPositions)
    assert isinstance(make_positions("fourier", (2, 2), 8), FourierPositions)
    fixed = make_positions("sincos_1d", (2, 2), 8)
    assert isinstance(fixed, FixedPositions)
    torch.testing.assert_close(fixed((2, 2))[0], sinusoidal_1d(4, 8))
    assert not list(fixed.parameters())
    with pytest.raises(ValueError, match="unknown positions"):
        make_positions("rope", (2, 2), 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple of 4"):
        sinusoidal_2d((2, 2), 6)
