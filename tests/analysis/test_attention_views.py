"""Single queries, flow and maps of an image: known answers, the recorded rows, refusals."""

from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.analysis.attention_flow import attention_flow
from saccade.analysis.attention_views import attention_view
from saccade.analysis.image_maps import image_map
from saccade.analysis.image_points import point_in_input
from saccade.analysis.map_score import ScoredMap
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError, RecordingError
from saccade.reporting.attention_plots import map_figure, view_figure
from tests.analysis.test_points import IMAGE, created


def test_flow_of_one_layer_is_its_attention() -> None:
    weights = torch.rand(2, 4, 4).softmax(-1)
    mixed = 0.5 * weights.mean(0) + 0.5 * torch.eye(4)
    torch.testing.assert_close(attention_flow([weights], 1), mixed[1], atol=1e-6, rtol=0)


def test_flow_of_uniform_attention_and_of_identity() -> None:
    """Through two uniform layers n paths of capacity 1/n lead from every input; identity leaves everything in place."""
    uniform = torch.full((1, 5, 5), 0.2)
    torch.testing.assert_close(attention_flow([uniform, uniform], 0, residual=0.0), torch.ones(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(attention_flow([torch.eye(3)[None]] * 4, 2), torch.tensor([0.0, 0.0, 1.0]))


def test_flow_through_a_narrow_place() -> None:
    """Tokens 0 and 1 reach the query only through token 2 of the middle layer, which takes 0.3 and 0.7 of them."""
    first = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.3, 0.7, 0]])[None]
    second = torch.tensor([[0.0, 0, 1], [0, 1, 0], [0, 0, 1]])[None]
    flow = attention_flow([first, second], 0, residual=0.0)
    torch.testing.assert_close(flow, torch.tensor([0.3, 0.7, 0.0]), atol=1e-6, rtol=0)


def test_flow_is_that_of_networkx() -> None:
    torch.manual_seed(0)
    layers = [(3 * torch.randn(2, 4, 4)).softmax(-1) for _ in range(3)]
    graph = networkx.DiGraph()
    for number, layer in enumerate(layers):
        mixed = 0.5 * layer.mean(0) + 0.5 * torch.eye(4)
        for to in range(4):
            for source in range(4):
                graph.add_edge((number, source), (number + 1, to), capacity=mixed[to, source].item())
    expected = [networkx.maximum_flow_value(graph, (0, source), (3, 1)) for source in range(4)]
    np.testing.assert_allclose(attention_flow(layers, 1).numpy(), expected, atol=1e-5)
    with pytest.raises(ValueError, match="no token 4"):
        attention_flow(layers, 4)
    with pytest.raises(ValueError, match="whole self-attention"):
        attention_flow([torch.rand(2, 3, 4)], 0)


@pytest.mark.parametrize(
    ("size", "pixel", "place"),
    [
        ((100, 100), (50, 25), (0.505, 0.255)),  # the whole image is seen
        ((100, 200), (100, 99), (0.505, 0.995)),  # columns 50 to 150 are seen
    ],
)
def test_a_pixel_of_the_image_as_the_model_sees_it(
    size: tuple[int, int], pixel: tuple[int, int], place: tuple[float, float]
) -> None:
    preprocessing = Preprocessing((32, 32), crop_pct=1.0)
    assert point_in_input(pixel, size, preprocessing) == pytest.approx(place)
    for wrong, message in (((200, 5), "outside the image"), ((1.5, 0.2), "fractions"), ((-3, 5), "fractions")):
        with pytest.raises(RecordingError, match=message):
            point_in_input(wrong, size, preprocessing)
    if size[1] > size[0]:
        with pytest.raises(RecordingError, match="cropped away: the input is columns 50 to 150"):
            point_in_input((10, 10), size, preprocessing)


def test_rows_are_those_of_the_recording() -> None:
    predictor = created("vit_digits", "classification")
    with saccade.record(predictor.model) as trace, torch.no_grad():
        predictor.model(predictor.prepare(IMAGE)[None])
    layout = trace.layout
    tokens = {"cls": 0, (0.3, 0.9): layout.index(3, 1), 5: 5}
    for query, token in tokens.items():
        view = attention_view(predictor, IMAGE, query=query)
        assert view.maps.shape == (4, 4, 4, 4)
        for path, shown in zip(view.layers, view.maps):
            expected = trace.attention[path][0, :, token, layout.num_prefix :]
            np.testing.assert_allclose(shown.reshape(4, -1), expected.numpy(), atol=1e-6)
    assert attention_view(predictor, IMAGE).query == "class token"
    chosen = attention_view(predictor, IMAGE, layers=[-1, 0], heads=[2])
    assert chosen.maps.shape == (2, 1, 4, 4)
    assert chosen.heads == (2,)
    assert len(chosen.rows()) == 32
    assert len(view_figure(chosen).axes) == 2


def test_queries_of_a_detector_look_at_the_image() -> None:
    predictor = created("detr_small", "detection")
    with saccade.record(predictor.model) as trace, torch.no_grad():
        predictor.model(predictor.prepare(IMAGE)[None])
    view = attention_view(predictor, IMAGE, query=3)
    assert view.layers
    assert all("cross_attn" in path for path in view.layers)
    for path, shown in zip(view.layers, view.maps):
        np.testing.assert_allclose(shown.reshape(len(shown), -1), trace.attention[path][0, :, 3].numpy(), atol=1e-6)
    assert "mean" in attention_view(predictor, IMAGE).query
    with pytest.raises(RecordingError, match="no class token"):
        attention_view(predictor, IMAGE, query="cls")
    with pytest.raises(RecordingError, match="there is no query 999"):
        attention_view(predictor, IMAGE, query=999)


@pytest.mark.parametrize(("name", "task"), [("dpt_small", "depth"), ("perceiver_digits", "classification")])
def test_other_families(name: str, task: str) -> None:
    predictor = created(name, task)
    view = attention_view(predictor, IMAGE, query=0)
    layout = predictor.model.token_layout(tuple(predictor.prepare(IMAGE).shape[-2:]))
    assert view.maps.shape[2:] == layout.grid
    assert ((view.maps >= 0) & (view.maps.sum((2, 3), keepdims=True) <= 1 + 1e-5)).all()


def test_maps_of_an_image() -> None:
    predictor = created("vit_digits", "classification")
    view = attention_view(predictor, IMAGE, query="cls")
    np.testing.assert_allclose(image_map(predictor, IMAGE, "attention", layer=1, head=2).values, view.maps[1, 2])
    np.testing.assert_allclose(image_map(predictor, IMAGE, "attention").values, view.maps[-1].mean(0), atol=1e-7)
    one_layer = image_map(predictor, IMAGE, "rollout", layer=0).values
    np.testing.assert_allclose(one_layer, 0.5 * view.maps[0].mean(0), atol=1e-7)
    np.testing.assert_allclose(image_map(predictor, IMAGE, "flow", layer=0).values, one_layer, atol=1e-6)
    assert len(map_figure([ScoredMap(image_map(predictor, IMAGE, "flow"), None)] * 4).axes) == 12
    with pytest.raises(ConfigError, match="of all heads together"):
        image_map(predictor, IMAGE, "rollout", head=1)
    with pytest.raises(RecordingError, match="there is no layer 4"):
        image_map(predictor, IMAGE, "rollout", layer=4)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.analysis.test_attention_distance import save

    monkeypatch.chdir(tmp_path)
    model = str(save(tmp_path, "vit_digits", 8, 1))
    Image.fromarray(IMAGE).save("a.png")
    assert main(["analyze", "attention", model, "a.png", "--point", "100", "20", "--layer", "-1", "0"]) == 0
    assert "point 0.88, 0.12 to 4 x 4 patches" in capsys.readouterr().out
    for name in ("rollout", "flow"):
        assert main(["analyze", name, model, "a.png"]) == 0
        assert Path(f"{name}.png").is_file()
    assert main(["explain", model, "a.png", "--method", "flow", "--layer", "1", "-o", "flow.png"]) == 0
    assert "flow, layer 1" in capsys.readouterr().out
    assert main(["analyze", "attention", model, "a.png", "--query", "first"]) == 2
    assert main(["explain", model, "a.png", "--point", "0.5", "0.5", "--head", "0"]) == 0
    assert "attention, head 0, at 0.5, 0.5" in capsys.readouterr().out
    assert main(["explain", model, "a.png", "--query", "1"]) == 2
    assert "a query is for detectors" in capsys.readouterr().err
