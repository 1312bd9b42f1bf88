"""The formulas and worked numbers of the lectures, computed by the code that the models use."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from saccade.nn.attention import MultiHeadAttention, attend, attention_weights
from saccade.nn.mlp import Mlp
from saccade.nn.patches import patchify
from saccade.nn.positions import sinusoidal_1d

INPUTS = torch.tensor([[1.0, 0, 1, 0], [0, 2, 0, 2], [1, 1, 1, 1]])
KEYS = torch.tensor([[0.0, 1, 1], [4, 4, 0], [2, 3, 1]])
VALUES = torch.tensor([[1.0, 2, 3], [2, 8, 0], [2, 6, 3]])
QUERIES = torch.tensor([[1.0, 0, 2], [2, 2, 2], [2, 1, 3]])


def test_the_three_token_example_comes_from_its_inputs() -> None:
    """Keys, values and queries are linear maps of the inputs: maps with these images exist."""
    for target in (KEYS, VALUES, QUERIES):
        weight = torch.linalg.lstsq(INPUTS, target).solution
        torch.testing.assert_close(INPUTS @ weight, target, atol=1e-5, rtol=0)


def test_the_scores_of_the_first_query() -> None:
    assert (QUERIES[0] @ KEYS.T).tolist() == [2, 4, 4]


def test_outputs_of_the_three_token_example() -> None:
    """Scores are not scaled, and the lecture rounds the softmax to one decimal (0.06 to 0) before it mixes values."""
    weights = attention_weights(QUERIES, KEYS, scale=1.0)
    lecture = torch.tensor([[0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [0.0, 0.9, 0.1]])
    assert (weights - lecture).abs().max() < 0.07
    torch.testing.assert_close((weights[1:] * 10).round() / 10, lecture[1:])
    torch.testing.assert_close(lecture @ VALUES, torch.tensor([[2.0, 7.0, 1.5], [2.0, 8.0, 0.0], [2.0, 7.8, 0.3]]))


def test_outputs_without_rounding() -> None:
    exact = attend(QUERIES[None, None], KEYS[None, None], VALUES[None, None], scale=1.0)[0, 0]
    torch.testing.assert_close(exact, (QUERIES @ KEYS.T).softmax(-1) @ VALUES, atol=1e-6, rtol=1e-6)


def test_one_dimensional_convolution() -> None:
    signal = torch.tensor([1.0, 4, -1, 0, 2, -2, 1, 3, 3, 1])
    kernel = torch.tensor([1.0, 2, 0, -1])
    assert F.conv1d(signal[None, None], kernel[None, None]).flatten().tolist() == [9, 0, 1, 3, -5, -3, 6]


def test_two_dimensional_convolution() -> None:
    image = torch.tensor([[1.0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]])
    cross = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    result = F.conv2d(image[None, None], cross[None, None])[0, 0]
    assert result[0, 0] == 4
    assert result.tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]


def test_patches_of_a_batch() -> None:
    patches = patchify(torch.randn(4, 3, 32, 32), (16, 16))
    assert tuple(patches.shape) == (4, 4, 768)


def test_attention_without_positions_is_permutation_equivariant() -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(32, 4).double()
    tokens = torch.randn(2, 7, 32, dtype=torch.float64)
    order = torch.randperm(7)
    torch.testing.assert_close(attention(tokens[:, order]), attention(tokens)[:, order])


def test_positions_break_the_equivariance() -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(32, 4)
    tokens, places = torch.randn(2, 7, 32), sinusoidal_1d(7, 32)
    order = torch.arange(6, -1, -1)
    assert not torch.allclose(attention(tokens[:, order] + places), attention(tokens + places)[:, order], atol=1e-2)


def test_a_convolution_is_translation_equivariant() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 5, 3, padding=1, padding_mode="circular").double()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    moved = images.roll((2, 3), (2, 3))
    torch.testing.assert_close(convolution(moved), convolution(images).roll((2, 3), (2, 3)))


def test_a_one_by_one_convolution_is_a_layer_of_the_mlp_for_each_token() -> None:
    torch.manual_seed(0)
    layer = Mlp(16, 24).fc1
    convolution = nn.Conv2d(16, 24, 1)
    with torch.no_grad():
        convolution.weight.copy_(layer.weight[..., None, None])
        convolution.bias.copy_(layer.bias)  # type: ignore[union-attr]
    image = torch.randn(2, 16, 5, 6)
    tokens = image.flatten(2).transpose(1, 2)
    torch.testing.assert_close(convolution(image).flatten(2).transpose(1, 2), layer(tokens), atol=1e-5, rtol=1e-5)


def test_pixels_as_tokens_are_too_many() -> None:
    tokens = 1920 * 1080
    assert tokens**2 == 4_299_816_960_000


def test_sinusoids_as_the_lecture_writes_them() -> None:
    table = sinusoidal_1d(50, 16)
    for place in (0, 1, 7, 49):
        for i in range(8):
            angle = place / 10_000 ** (2 * i / 16)
            assert math.isclose(table[place, 2 * i], math.sin(angle), abs_tol=1e-6)
            assert math.isclose(table[place, 2 * i + 1], math.cos(angle), abs_tol=1e-6)


def test_a_shift_of_positions_is_a_rotation_that_does_not_depend_on_the_place() -> None:
    """Why sinusoids: PE(p + k) is one linear map of PE(p), the same for every p."""
    table = sinusoidal_1d(40, 8).double()
    shift = torch.linalg.lstsq(table[:30], table[5:35]).solution
    torch.testing.assert_close(table[:35] @ shift, table[5:40], atol=1e-4, rtol=0)


def test_the_scale_keeps_the_variance_of_scores_at_one() -> None:
    torch.manual_seed(0)
    for d in (4, 64, 256):
        q, k = torch.randn(4000, d), torch.randn(4000, d)
        scores = (q * k).sum(-1) / math.sqrt(d)
        assert abs(scores.var().item() - 1) < 0.1
