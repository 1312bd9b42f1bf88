"""Analyses against cases whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.analysis.attention_distance import attention_distance
from saccade.analysis.attention_maps import attention_maps, explain
from saccade.analysis.patch_filters import patch_filters
from saccade.analysis.position_similarity import position_similarity
from saccade.analysis.rollout import attention_rollout
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.errors import RecordingError
from saccade.models.zoo import architecture_of
from saccade.nn.tokens import TokenLayout


def test_rollout_of_identity_is_identity() -> None:
    layers = [torch.eye(5).expand(2, 3, 5, 5)] * 4
    torch.testing.assert_close(attention_rollout(layers), torch.eye(5).expand(2, 5, 5))


def test_rollout_of_uniform_attention() -> None:
    """Half identity, half uniform: after L layers a token keeps 2^-L of itself; the rest is spread evenly."""
    n, depth = 4, 3
    found = attention_rollout([torch.full((1, 2, n, n), 1 / n)] * depth)
    kept = 0.5**depth
    expected = kept * torch.eye(n) + (1 - kept) / n
    torch.testing.assert_close(found[0], expected)


def test_rollout_multiplies_later_layers_from_the_left() -> None:
    first, second = torch.rand(1, 1, 3, 3).softmax(-1), torch.rand(1, 1, 3, 3).softmax(-1)
    found = attention_rollout([first, second], residual=0.0)
    torch.testing.assert_close(found[0], second[0, 0] @ first[0, 0])
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 3))
    with pytest.raises(ValueError, match="whole self-attention"):
        attention_rollout([torch.rand(1, 1, 1, 3)])
    with pytest.raises(ValueError, match="at least one"):
        attention_rollout([])


def test_distance_of_looking_at_oneself_at_the_neighbour_and_everywhere() -> None:
    layout = TokenLayout(num_prefix=1, grid=(1, 4), stride=(16, 16))
    own = torch.eye(5)
    right = torch.zeros(5, 5)
    right[1, 2] = right[2, 3] = right[3, 4] = right[4, 3] = 1
    everywhere = torch.full((5, 5), 0.2)  # the class token's share does not count
    weights = torch.stack((own, right, everywhere))[None]
    found = attention_distance({"layer": weights}, layout)
    uniform = 16 * np.mean([abs(i - j) for i in range(4) for j in range(4)])
    np.testing.assert_allclose(found.pixels, [[0, 16, uniform]], rtol=1e-6)
    np.testing.assert_allclose(found.spread, [[0, 0, 0]], atol=1e-6)
    assert found.layers == ("layer",)


def test_distance_of_a_head_that_attends_to_the_class_token_only_is_not_defined() -> None:
    layout = TokenLayout(num_prefix=1, grid=(1, 3), stride=(10, 10))
    class_token, one_query = torch.zeros(4, 4), torch.zeros(4, 4)
    class_token[:, 0] = one_query[:, 0] = 1
    one_query[2] = torch.tensor([0.9, 0.05, 0.0, 0.05])  # the middle patch also attends to both neighbours
    pixels = attention_distance({"layer": torch.stack((class_token, one_query))[None]}, layout).pixels
    assert np.isnan(pixels[0, 0])
    assert pixels[0, 1] == pytest.approx(10)  # of the one query for which it is defined


def test_distance_counts_both_axes_in_pixels() -> None:
    layout = TokenLayout(num_prefix=0, grid=(2, 2), stride=(3, 4))
    diagonal = torch.eye(4).flip(0)
    assert attention_distance({"a": diagonal[None, None]}, layout).pixels.item() == pytest.approx(5.0)


def test_position_similarity() -> None:
    net = saccade.create("vit_digits", options={"positions": "learned"})
    with torch.no_grad():
        net.encoder.pos_embed.table.zero_()
        net.encoder.pos_embed.table[0, torch.arange(16), torch.arange(16)] = 2.0
    similarity = position_similarity(net)
    assert similarity is not None
    np.testing.assert_allclose(similarity.reshape(16, 16), np.eye(16), atol=1e-6)
    assert position_similarity(saccade.create("vit_digits", options={"positions": "none"})) is None
    fixed = position_similarity(saccade.create("vit_digits"))
    assert fixed is not None
    assert fixed[1, 1, 1, 2] > fixed[1, 1, 3, 3]  # neighbours are alike


def test_patch_filters_find_the_direction_that_varies() -> None:
    net = saccade.create("vit_digits")
    direction = torch.tensor([[1.0, -1.0], [0.5, 0.0]])
    with torch.no_grad():
        net.encoder.patch_embed.proj.weight.copy_(torch.randn(64, 1, 1, 1) * direction)
    found = patch_filters(net)
    assert found is not None
    assert found.variance[0] == pytest.approx(1.0, abs=1e-5)
    shape = found.filters[0, :, :, 0] * 2 - 1
    np.testing.assert_allclose(np.abs(shape), np.abs(direction.numpy()), atol=1e-5)
    assert ((found.filters >= 0) & (found.filters <= 1)).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_registers": 2, "prefix_positions": 0},
        {"class_token": False, "pooling": "mean"},
        {"pooling": "attention"},
    ],
)
def test_maps_lie_on_the_patches_whatever_the_prefix(options: dict) -> None:
    net = saccade.create("vit_digits", options=options).eval()
    images = torch.randn(2, 1, 8, 12)
    logits, maps = attention_maps(net, images)
    torch.testing.assert_close(logits, net(images))
    assert tuple(maps.rollout.shape) == (2, 4, 6)
    assert tuple(maps.heads.shape) == (2, 4, 4, 6)
    assert maps.layer == "encoder.blocks.3.attn"
    total = maps.rollout.sum((1, 2))
    assert ((total > 0.3) & (total <= 1 + 1e-5)).all()


def test_a_model_without_attention_says_so() -> None:
    from saccade.models.model import Model

    with pytest.raises(RecordingError, match="no attention"):
        attention_maps(Model(), torch.randn(1, 1, 8, 8))


def test_a_model_without_a_head_is_explained_too(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A backbone from elsewhere, and a masked autoencoder, which then sees the whole image."""
    picture = tmp_path / "a.png"
    Image.effect_noise((40, 40), 80).convert("RGB").save(picture)
    small = {"block.embed_dim": 64, "block.num_heads": 2, "block.mlp_dim": 96}
    decoder = {"decoder.embed_dim": 32, "decoder.num_heads": 4}
    for name, options in (
        ("vit_ti16", {"depth": 2}),
        ("mae_b16", {"depth": 2, "decoder_depth": 1, **small, **decoder}),
    ):
        net = saccade.create(name, image_size=32, num_classes=0, options=options)
        save_model_dir(tmp_path / name, LoadedModel(net, architecture_of(name), (), Preprocessing((32, 32))))
        found = explain(saccade.load(tmp_path / name), picture)
        assert (found.label, found.score) == ("no classes", None)
        assert found.rollout.shape == (2, 2)
        assert main(["explain", str(tmp_path / name), str(picture), "-o", str(tmp_path / f"{name}.png")]) == 0
        assert "no classes\n" in capsys.readouterr().out
