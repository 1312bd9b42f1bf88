"""Rotary positions: queries and keys turn with their place, so that scores depend on distances alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import saccade
from saccade.cli.main import main
from saccade.models.vit import VisionTransformer, vit_digits_config
from saccade.nn.attention import MultiHeadAttention
from saccade.nn.positions import rotary_positions, rotate
from saccade.nn.transformer import Block, BlockConfig

ROTARY = replace(vit_digits_config(), positions="rotary")


def test_angles_of_a_small_grid() -> None:
    """Two columns and three rows, heads of 8: two pairs turn with the column, two with the row, by 1 and by 1/10."""
    cos, sin = rotary_positions((3, 2), 8, num_prefix=1)
    assert (cos[0] == 1).all()
    assert (sin[0] == 0).all()
    angles = torch.tensor([[x, x / 10, y, y / 10] for y in range(3) for x in range(2)])
    torch.testing.assert_close(cos[1:], angles.cos())
    torch.testing.assert_close(sin[1:], angles.sin())


def test_scores_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 8)
    rotation = rotary_positions((5, 5), 8)
    turned_q, turned_k = (rotate(x.expand(25, 8), rotation).unflatten(0, (5, 5)) for x in (q, k))
    scores = torch.einsum("hwd,yxd->hwyx", turned_q, turned_k)
    torch.testing.assert_close(scores[0, 0, 2, 1], scores[2, 3, 4, 4])
    torch.testing.assert_close(scores[3, 1, 1, 4], scores[4, 0, 2, 3])
    torch.testing.assert_close(scores[2, 2, 2, 2], (q * k).sum())
    assert (scores[0, 0, 2, 1] - scores[0, 0, 1, 2]).abs() > 1e-3
    torch.testing.assert_close(rotate(q.expand(25, 8), rotation).norm(dim=1), q.norm().expand(25))


def test_a_vit_with_rotary_positions_sees_where_a_patch_is() -> None:
    """Permuted patches change its output; without positions they do not. The recorded weights are the turned ones."""
    torch.manual_seed(0)
    net = VisionTransformer(ROTARY).eval()
    image = torch.randn(1, 1, 8, 8)
    moved = torch.cat((image[..., 4:], image[..., :4]), dim=3)
    assert (net(image) - net(moved)).abs().max() > 1e-4
    plain = VisionTransformer(replace(ROTARY, positions="none")).eval()
    plain.load_state_dict(net.state_dict())
    torch.testing.assert_close(plain(image), plain(moved))
    with saccade.record(net) as trace:
        net(image)
    block = net.encoder.blocks[0]
    assert isinstance(block, Block)
    x = block.norm1(net.encoder.with_prefix(net.encoder.patch_embed(image).tokens, (4, 4)))
    q, k, _ = (block.attn.split_heads(part) for part in block.attn.project(x, None, None))
    rotation = rotary_positions((4, 4), 16, num_prefix=1)
    weights = (rotate(q, rotation) @ rotate(k, rotation).mT / 4).softmax(dim=-1)
    torch.testing.assert_close(trace.attention["encoder.blocks.0.attn"], weights)


def test_other_sizes_go_on_counting() -> None:
    """A larger image has more rows and columns at the same distances; nothing is resampled."""
    net = VisionTransformer(ROTARY).eval()
    assert net(torch.randn(2, 1, 12, 10)).shape == (2, 10)
    assert net.encoder.rotary is not None
    torch.testing.assert_close(net.encoder.rotary((6, 5)), rotary_positions((6, 5), 16, num_prefix=1))
    torch.export.export(net, (torch.randn(2, 1, 8, 8),))


def test_it_trains_and_comes_back_from_disk(tmp_path: Path) -> None:
    command = "train digits --model vit_digits --recipe digits --steps 2 --set model.options.positions=rotary --seed 1"
    options = ["--set", "model.options.depth=1", "--set", "schedule.warmup=0.0", "--output", str(tmp_path / "run")]
    assert main([*command.split(), *options]) == 0
    predictor = saccade.load(tmp_path / "run")
    assert predictor.model.config.positions == "rotary"
    assert predictor.model(torch.randn(1, 1, 12, 12)).shape == (1, 10)


def test_what_does_not_fit_is_refused() -> None:
    block = BlockConfig(8, 2, 8)
    tokens, rotation = torch.zeros(1, 4, 8), rotary_positions((2, 2), 4)
    with pytest.raises(ValueError, match="needs the rotation"):
        Block(block, rotary=True)(tokens)
    with pytest.raises(ValueError, match="needs the rotation"):
        Block(block)(tokens, rotation=rotation)
    with pytest.raises(ValueError, match="self-attention without other positions"):
        Block(block, rotary=True, positions=True)
    with pytest.raises(ValueError, match="self-attention without a cache"):
        MultiHeadAttention(8, 2, packed=False)(tokens, tokens, rotation=rotation)
    with pytest.raises(ValueError, match="multiple of 4"):
        rotary_positions((2, 2), 6)
