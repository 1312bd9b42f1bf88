"""Attention rollout against the equations of Abnar & Zuidema; similarity of positions against scikit-learn."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity

import saccade
from saccade.analysis.attention_maps import attention_maps
from saccade.analysis.position_similarity import position_similarity
from saccade.analysis.rollout import attention_rollout
from saccade.checkpoints.loading import load_model


def abnar_zuidema(attention: NDArray) -> NDArray:
    """Equation 1 of arXiv 2005.00928 on the mean over heads, A = W / 2 + I / 2 -> ``[N, N]``.

    Args:
        attention: ``[L, H, N, N]`` of one input.
    """
    layers = [0.5 * weights.mean(axis=0) + 0.5 * np.eye(weights.shape[-1]) for weights in attention]

    def rollout(index: int) -> NDArray:
        return layers[index] @ rollout(index - 1) if index > 0 else layers[0]

    return rollout(len(layers) - 1)


def sum_over_paths(attention: NDArray, output: int, source: int) -> float:
    """Section 3 of the paper: the sum over all paths of the product of the weights of their edges."""
    depth, _, tokens, _ = attention.shape
    edges = [0.5 * weights.mean(axis=0) + 0.5 * np.eye(tokens) for weights in attention]
    total = 0.0
    for between in product(range(tokens), repeat=depth - 1):
        path = (source, *between, output)
        total += np.prod([edges[layer][path[layer + 1], path[layer]] for layer in range(depth)]).item()
    return total


def test_abnar_and_zuidema() -> None:
    torch.manual_seed(0)
    layers = [torch.randn(2, 3, 5, 5).mul(2).softmax(-1) for _ in range(4)]
    result = attention_rollout(layers)
    for item in range(2):
        attention = torch.stack([layer[item] for layer in layers]).double().numpy()
        np.testing.assert_allclose(result[item], abnar_zuidema(attention), atol=1e-6)
        assert result[item, 1, 3].item() == pytest.approx(sum_over_paths(attention, 1, 3), abs=1e-6)


def test_the_rollout_of_a_model_is_that_of_the_attentions_in_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8,
        num_labels=5, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if ".attention." in name:
                parameter.mul_(20)  # fresh weights attend to everything alike
    theirs.save_pretrained(tmp_path)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        attentions = theirs.double()(images, output_attentions=True).attentions
    _, maps = attention_maps(load_model(tmp_path).model.double(), images)
    for item in range(2):
        expected = abnar_zuidema(torch.stack([layer[item] for layer in attentions]).double().numpy())
        assert expected[0, 1:].max() > 2 * expected[0, 1:].min()
        np.testing.assert_allclose(maps.rollout[item].flatten(), expected[0, 1:], atol=1e-6)
        np.testing.assert_allclose(maps.heads[item].flatten(1), attentions[-1][item, :, 0, 1:], atol=1e-6)


@pytest.mark.parametrize("options", [{"positions": "learned"}, {}])
def test_similarity_of_positions_is_that_of_scikit_learn(options: dict[str, str]) -> None:
    torch.manual_seed(0)
    net = saccade.create("vit_digits", options=options)
    positions = net.encoder.pos_embed
    with torch.no_grad():
        for parameter in positions.parameters():
            parameter.normal_()  # also the row of the class token, which has no place in the grid
        table = positions(positions.grid)[0, positions.num_prefix :].detach()
    similarity = position_similarity(net)
    assert similarity is not None
    height, width = positions.grid
    expected = cosine_similarity(table.double().numpy())
    assert expected.std() > 0.05
    np.testing.assert_allclose(similarity.reshape(height * width, height * width), expected, atol=1e-6)
