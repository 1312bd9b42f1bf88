"""Local and axial attention against sums written out, against official outputs, and for the cost they promise."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import saccade
from saccade.models.axial_resnet import AxialBlock
from saccade.nn.windows import AxialAttention, LocalAttention

CONFORMANCE = Path(__file__).parents[1] / "conformance"


def local_by_hand(layer: LocalAttention, x: Tensor) -> Tensor:
    """The formula of arXiv 1906.05909, one place and one head at a time."""
    q, k, v = layer.q(x)[0], layer.k(x)[0], layer.v(x)[0]  # [H d, h, w]
    channels, height, width = q.shape
    dim, reach = channels // layer.num_heads, layer.window // 2
    out = torch.zeros_like(q)
    for head in range(layer.num_heads):
        own = slice(head * dim, (head + 1) * dim)
        for row in range(height):
            for column in range(width):
                scores, values = [], []
                for i in range(max(0, row - reach), min(height, row + reach + 1)):
                    for j in range(max(0, column - reach), min(width, column + reach + 1)):
                        rows = layer.rows[head, :, i - row + reach, 0]
                        columns = layer.columns[head, :, 0, j - column + reach]
                        key = k[own, i, j] + torch.cat((rows, columns))
                        scores.append(q[own, row, column] @ key / math.sqrt(dim))
                        values.append(v[own, i, j])
                weights = torch.stack(scores).softmax(dim=0)
                out[own, row, column] = weights @ torch.stack(values)
    return out[None]


@torch.no_grad()
def test_local_attention_by_hand() -> None:
    torch.manual_seed(0)
    layer = LocalAttention(6, 16, num_heads=4, window=3)
    x = torch.randn(1, 6, 5, 4)
    torch.testing.assert_close(layer(x), local_by_hand(layer, x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("window", "grid"), [(1, (3, 4)), (3, (5, 4)), (5, (1, 7)), (7, (4, 3))])
def test_shifted_products_equal_the_gathered_windows(window: int, grid: tuple[int, int]) -> None:
    """The output and every gradient in float64, also on maps that are smaller than a window; and recordings."""
    torch.manual_seed(0)
    layer = LocalAttention(6, 16, num_heads=2, window=window).double()
    x = torch.randn(2, 6, *grid, dtype=torch.float64, requires_grad=True)
    plain, recorded = [], []
    for gather in (False, True):
        out = layer(x, gather)
        plain.append([out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])])
        with saccade.record(layer) as trace:
            assert torch.equal(layer(x, gather), out)
        recorded.append(next(iter(trace.attention.values())))
    for shifted, gathered in zip(*plain, strict=True):
        torch.testing.assert_close(shifted, gathered, rtol=1e-12, atol=1e-12)
    assert recorded[0].shape == (2 * grid[0] * grid[1], 2, 1, window**2)
    torch.testing.assert_close(*recorded)


def test_gradients_of_the_recorded_weights_of_a_window() -> None:
    torch.manual_seed(0)
    layer, x = LocalAttention(4, 8, num_heads=2, window=3), torch.randn(1, 4, 5, 4)
    gradients = []
    for gather in (False, True):
        with saccade.record(layer) as trace:
            out = layer(x, gather)
        weights = next(iter(trace.attention.values()))
        gradients.append(torch.autograd.grad(out.square().sum(), [weights, *layer.parameters()]))
    for shifted, gathered in zip(*gradients, strict=True):
        torch.testing.assert_close(shifted, gathered)


@torch.no_grad()
def test_an_inactive_intervention_of_another_thread_changes_no_bit() -> None:
    layer, x = LocalAttention(4, 16, num_heads=2, window=3), torch.randn(1, 4, 6, 5)
    plain = layer(x)
    with saccade.intervene(torch.nn.Sequential(layer), heads={0: [1]}):
        changed = layer(x)
        with ThreadPoolExecutor(1) as pool:
            assert torch.equal(pool.submit(layer, x).result(), plain)
    assert not torch.equal(changed, plain)


@torch.no_grad()
def test_local_attention_moves_with_the_image() -> None:
    """Translation equivariance, which global attention with absolute positions has not."""
    layer = LocalAttention(4, 16, num_heads=2, window=3)
    x = torch.zeros(1, 4, 12, 12)
    x[..., 3:7, 3:7] = torch.randn(1, 4, 4, 4)
    moved = layer(x.roll((2, 3), dims=(2, 3)))
    torch.testing.assert_close(moved[..., 3:-1, 4:-1], layer(x).roll((2, 3), dims=(2, 3))[..., 3:-1, 4:-1])


@torch.no_grad()
def test_local_attention_sees_its_window_only_and_halves_the_map() -> None:
    layer = LocalAttention(4, 16, num_heads=2, window=5)
    x = torch.randn(1, 4, 9, 9)
    other = x.clone()
    other[..., 8, 8] += 5.0
    changed = (layer(x) != layer(other)).any(dim=1)[0]
    assert changed[6:, 6:].all()
    assert not changed[:6].any()
    assert tuple(LocalAttention(4, 16, stride=2)(torch.randn(2, 4, 8, 6)).shape) == (2, 16, 4, 3)


def official_axial_block() -> tuple[AxialBlock, dict[str, Tensor]]:
    """A block with the weights of an official one; it counts distances from key to query for queries and values."""
    stored = load_file(CONFORMANCE / "axial_block.safetensors")
    theirs = {name.removeprefix("block."): t for name, t in stored.items() if name.startswith("block.")}
    ours = {}
    for mine, conv, norm in (
        ("down", "conv_down", "bn1"), ("up", "conv_up", "bn2"), ("shortcut", "downsample.0", "downsample.1")
    ):  # fmt: skip
        ours[f"{mine}.0.weight"] = theirs[f"{conv}.weight"]
        for part in ("weight", "bias", "running_mean", "running_var"):
            ours[f"{mine}.1.{part}"] = theirs[f"{norm}.{part}"]
    for mine, name in (("columns", "hight_block"), ("rows", "width_block")):
        ours[f"{mine}.qkv.weight"] = theirs[f"{name}.qkv_transform.weight"]
        for norm, bn in (("norm_qkv", "bn_qkv"), ("norm_scores", "bn_similarity"), ("norm_out", "bn_output")):
            for part in ("weight", "bias", "running_mean", "running_var"):
                ours[f"{mine}.{norm}.{part}"] = theirs[f"{name}.{bn}.{part}"]
        q, k, v = theirs[f"{name}.relative"].split([2, 2, 4])
        ours[f"{mine}.relative"] = torch.cat((q.flip(1), k, v.flip(1)))
    block = AxialBlock(24, 32, 2, 8, span=12)
    missing, unexpected = block.load_state_dict(ours, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return block, stored


@torch.no_grad()
@pytest.mark.parametrize(("training", "expected"), [(False, "output"), (True, "output_training")])
def test_an_axial_block_equals_the_official_one(training: bool, expected: str) -> None:
    block, stored = official_axial_block()
    found = block.train(training)(stored["input"])
    assert (found - stored[expected]).abs().max() <= 1e-5 * stored[expected].abs().max()


@torch.no_grad()
def test_blocks_of_a_long_axis_see_what_the_span_allows() -> None:
    """Cut into blocks, an axis gives what one attention with a mask over the whole of it gives."""
    torch.manual_seed(0)
    layer = AxialAttention(16, 3, num_heads=2, span=4).eval()
    lines = torch.randn(3, 16, 11)
    q, k, v = layer.norm_qkv(layer.qkv(lines)).unflatten(1, (2, -1)).split([4, 4, 8], dim=2)
    offsets = layer.offsets(11, 11, 0)
    whole = layer.attend(q, k, v, offsets, offsets.abs() < 4)
    torch.testing.assert_close(layer.in_blocks(q, k, v)[..., :11], whole, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_two_axial_steps_see_the_whole_image() -> None:
    columns, rows = AxialAttention(16, 2, 2, 8).eval(), AxialAttention(16, 3, 2, 8).eval()
    x = torch.randn(1, 16, 8, 8)
    other = x.clone()
    other[..., 7, 7] += 3.0
    one = (columns(x) != columns(other)).any(dim=1)[0]
    assert one[:, 7].all()
    assert not one[:, :7].any()
    assert (rows(columns(x)) != rows(columns(other))).any(dim=1).all()


@torch.no_grad()
@pytest.mark.parametrize("name", ["local_resnet26", "axial_resnet26_s"])
def test_recording_gives_the_weights_that_ran(name: str) -> None:
    net = saccade.create(name, image_size=64, options={"depths": [1, 1, 1, 1]}).eval()
    images = torch.randn(1, 3, 64, 64)
    plain = net(images)
    with saccade.record(net, layers=[0, -1], verify=True) as trace:
        assert torch.equal(net(images), plain)
    assert all(error < 1e-5 for error in trace.errors.values())
    for weights in trace.attention.values():
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]), atol=1e-5, rtol=0)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="odd window"):
        LocalAttention(8, 16, window=4)
    with pytest.raises(ValueError, match="divisible by 16"):
        AxialAttention(24, 2)
