"""Local and axial attention: the place of each key; distances, rollout and relevance with known answers; commands."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.analysis.attention_distance import measure_attention_distance
from saccade.analysis.attention_maps import explain
from saccade.analysis.attention_views import attention_view
from saccade.analysis.image_maps import image_map
from saccade.analysis.inputs import open_images
from saccade.analysis.placed_attention import (
    PlacedAttention,
    PlacedBlock,
    on_one_grid,
    placed_relevance,
    placed_rollout,
)
from saccade.analysis.points import point_attention
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.engine.predictor import Predictor
from saccade.errors import RecordingError
from saccade.models.zoo import architecture_of
from saccade.nn.attention import Attention
from saccade.nn.tokens import TokenLayout
from saccade.nn.windows import AxialAttention, LocalAttention

SMALL = {"local_resnet26": {"depths": [1, 1, 1, 1], "window": 3}, "axial_resnet26_s": {"depths": [1, 1, 1, 1]}}


def recorded(layer: Attention, x: torch.Tensor) -> torch.Tensor:
    with saccade.record(layer) as trace:
        layer(x)
    return next(iter(trace.attention.values()))


@torch.no_grad()
def test_the_keys_of_a_window_are_its_places() -> None:
    layer = LocalAttention(4, 8, num_heads=2, window=3)
    x = torch.randn(2, 4, 5, 3)
    weights, keys = layer.over_places(recorded(layer, x), (5, 3))
    torch.testing.assert_close((weights * (keys >= 0)).sum(-1), torch.ones(2, 2, 15))
    values = layer.v(x).flatten(2).unflatten(1, (2, 4))[..., keys.clamp(min=0)]  # [B, H, d, N, K]
    out = (values * weights[:, :, None]).sum(-1).flatten(1, 2).unflatten(-1, (5, 3))
    torch.testing.assert_close(out, layer(x))


@torch.no_grad()
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("span", [8, 3])  # whole rows and columns; blocks that see their neighbours
def test_the_keys_of_an_axis_are_its_places(axis: int, span: int) -> None:
    layer = AxialAttention(8, axis, num_heads=2, span=span).eval()
    layer.relative.zero_()
    x = torch.randn(2, 8, 7, 5)
    weights, keys = layer.over_places(recorded(layer, x), (7, 5))
    torch.testing.assert_close((weights * (keys >= 0)).sum(-1), torch.ones(2, 2, 35))
    lines = x.permute(0, 3, 1, 2) if axis == 2 else x.permute(0, 2, 1, 3)
    v = layer.norm_qkv(layer.qkv(lines.flatten(0, 1))).unflatten(1, (2, -1))[:, :, 4:].unflatten(0, lines.shape[:2])
    v = v.permute(0, 2, 3, 4, 1) if axis == 2 else v.permute(0, 2, 3, 1, 4)  # [B, H, e, h, w]
    out = (v.flatten(3)[..., keys.clamp(min=0)] * weights[:, :, None]).sum(-1).flatten(1, 2).unflatten(-1, (7, 5))
    torch.testing.assert_close(out / math.sqrt(1 + 1e-5), layer(x))


def placed(weights: torch.Tensor, keys: torch.Tensor, grid: tuple[int, int]) -> PlacedAttention:
    return PlacedAttention("a", weights, keys, TokenLayout(0, grid, (2, 2)))


def dense(attention: PlacedAttention, weights: torch.Tensor) -> torch.Tensor:
    """The whole matrix of ``[N, K]`` weights."""
    matrix = torch.zeros(len(weights), len(weights))
    for query, row in enumerate(attention.keys.tolist()):
        for key, weight in zip(row, weights[query].tolist()):
            if key >= 0:
                matrix[query, key] += weight
    return matrix


def local(grid: tuple[int, int], heads: int = 2) -> PlacedAttention:
    layer = LocalAttention(4, 4 * heads, num_heads=heads, window=3)
    return placed(*layer.over_places(recorded(layer, torch.randn(1, 4, *grid)).detach(), grid), grid)


def test_rollout_and_relevance_are_those_of_the_whole_matrices() -> None:
    torch.manual_seed(0)
    first, second, third = local((4, 6)), local((4, 6)), local((2, 3))
    blocks = [PlacedBlock((first, second), (2, 3)), PlacedBlock((third,), (2, 3))]
    a, b, c = (dense(one, one.weights[0].mean(0)) for one in (first, second, third))
    averaged, strided = torch.zeros(6, 24), torch.zeros(6, 24)
    for n in range(6):
        row, column = 2 * (n // 3), 2 * (n % 3)
        strided[n, 6 * row + column] = 1
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            averaged[n, 6 * (row + i) + column + j] = 0.25
    whole = (0.5 * torch.eye(6) + 0.5 * c) @ (0.5 * strided + 0.5 * averaged @ b @ a)
    torch.testing.assert_close(placed_rollout(blocks)[0].flatten(), whole.mean(0))
    torch.testing.assert_close(placed_rollout(blocks, (0.5, 0.9))[0].flatten(), whole[4])
    torch.testing.assert_close(placed_rollout(blocks).sum(), torch.tensor(1.0))

    gradients = [[torch.randn_like(one.weights) for one in block.attentions] for block in blocks]
    a, b, c = (
        dense(one, (one.weights * g)[0].clamp(min=0).mean(0))
        for one, g in zip((first, second, third), [*gradients[0], *gradients[1]])
    )
    a = torch.where(a.sum(-1, keepdim=True) > 0, a / a.sum(-1, keepdim=True), 0)
    expected = ((torch.eye(6) + c) @ (strided + averaged @ b @ a) - strided).mean(0)
    torch.testing.assert_close(placed_relevance(blocks, gradients)[0].flatten(), expected, atol=1e-6, rtol=1e-5)


def test_a_window_of_one_place_leaves_everything_where_it_is() -> None:
    eye = placed(torch.ones(1, 1, 6, 1), torch.arange(6)[:, None], (2, 3))
    torch.testing.assert_close(placed_rollout([PlacedBlock((eye,), (2, 3))] * 3), torch.full((1, 2, 3), 1 / 6))
    assert placed_rollout([PlacedBlock((eye,), (2, 3))], (0.9, 0.9))[0, 1, 2] == 1
    assert (eye.distances() == 0).all()


def test_maps_of_several_sizes_keep_their_sums() -> None:
    coarse, fine = torch.rand(3, 2, 2), torch.rand(3, 4, 6)
    both = on_one_grid([coarse, fine])
    torch.testing.assert_close(both[1], fine)
    torch.testing.assert_close(both[0].sum((1, 2)), coarse.sum((1, 2)))
    torch.testing.assert_close(both[0, :, :2, :3], (coarse[:, :1, :1] / 6).expand(3, 2, 3))


def opened(name: str, size: int, folder: Path) -> Predictor:
    """A small network whose attention is even: its queries are 0."""
    torch.manual_seed(0)
    net = saccade.create(name, image_size=size, num_classes=3, options=SMALL[name])
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # a branch that starts as nothing has no relevance
    preprocessing = Preprocessing((size, size))
    save_model_dir(folder / name, LoadedModel(net, architecture_of(name), ("a", "b", "c"), preprocessing))
    return saccade.load(folder / name)


def even(predictor: Predictor) -> None:
    for module in predictor.model.modules():
        if isinstance(module, LocalAttention):
            torch.nn.init.zeros_(module.q.weight)
        if isinstance(module, AxialAttention):
            torch.nn.init.zeros_(module.qkv.weight)
            torch.nn.init.zeros_(module.relative)


@pytest.mark.parametrize("size", [64, 96])
def test_distances_of_even_attention(tmp_path: Path, size: int) -> None:
    """A row of L places: (L² - 1) / 3L places on average; a window of 3 x 3: by hand."""
    Image.effect_noise((size, size), 80).convert("RGB").save(tmp_path / "a.png")
    sides = [size // 4, size // 4, size // 8, size // 16]  # of the map that each block's attention sees
    for name in SMALL:
        predictor = opened(name, size, tmp_path)
        even(predictor)
        distance = measure_attention_distance(predictor, open_images(predictor, str(tmp_path / "a.png")))
        for number, side in enumerate(sides):
            if name == "local_resnet26":
                ways = [[abs(d) for d in (-1, 0, 1) if 0 <= i + d < side] for i in range(side)]
                by_hand = np.mean([np.mean([math.hypot(a, b) for a in x for b in y]) for x in ways for y in ways])
                assert distance.pixels[number] == pytest.approx(by_hand * size / side, rel=1e-5)
            else:
                for layer in (2 * number, 2 * number + 1):
                    assert distance.pixels[layer] == pytest.approx((side**2 - 1) / (3 * side) * size / side, rel=1e-5)


@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("size", [64, 96])
def test_every_map(tmp_path: Path, name: str, size: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    opened(name, 64, tmp_path)
    predictor = saccade.load(tmp_path / name, image_size=size)
    finest = (size // 4, size // 4)
    view = attention_view(predictor, image, query=(0.1, 0.9))
    assert view.maps.shape[2:] == finest
    np.testing.assert_allclose(view.maps.sum((2, 3)), 1, rtol=1e-5)
    point = point_attention(predictor, image, (0.1, 0.9))
    np.testing.assert_allclose(point.maps, view.maps.mean(1), atol=1e-6)
    rollout = image_map(predictor, image, "rollout").values
    assert rollout.shape == finest
    assert rollout.sum() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(explain(predictor, image).rollout, rollout, atol=1e-7)
    last = image_map(predictor, image, "attention").values
    assert last.shape == (size // 16, size // 16)
    relevance = [image_map(predictor, image, "relevance", target=label).values for label in "abc"]
    assert relevance[0].shape == finest
    assert all((one >= 0).all() for one in relevance)
    assert max(one.max() for one in relevance) > 0
    assert not np.allclose(relevance[0], relevance[1])
    with pytest.raises(RecordingError, match="use rollout"):
        image_map(predictor, image, "flow")
    with pytest.raises(RecordingError, match="choose the mean or a point"):
        attention_view(predictor, image, query="cls")


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened("axial_resnet26_s", 64, tmp_path)
    Image.effect_noise((64, 64), 80).convert("RGB").save("a.png")
    model = "axial_resnet26_s"
    for command in (["distance"], ["attention", "--point", "0.5", "0.5"], ["rollout"]):
        assert main(["analyze", command[0], model, "a.png", *command[1:]]) == 0, capsys.readouterr().err
    for options in ([], ["--point", "0.5", "0.5"], ["--method", "relevance", "--class", "b"]):
        assert main(["explain", model, "a.png", *options, "-o", "e.png"]) == 0, capsys.readouterr().err
