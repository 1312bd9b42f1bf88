"""Where places and queries look: the recorded weights, not others; refusals."""

import numpy as np
import pytest
import torch
from saccade.training.jobs.images import fresh_preprocessing

import saccade
from saccade.analysis.points import point_attention
from saccade.analysis.queries import found_objects, query_boxes
from saccade.checkpoints.directory import LoadedModel
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError, RecordingError
from saccade.reporting.looking import objects_figure, point_figure, queries_svg
from saccade.training.jobs.detect import boxed_preprocessing


def predictor_of(name: str, task: str, **settings) -> Predictor:
    torch.manual_seed(0)
    net = saccade.create(name, **settings)
    prepare = boxed_preprocessing(net) if task == "detection" else fresh_preprocessing(net)
    labels = tuple(map(str, range(net.config.num_classes)))
    return Predictor(LoadedModel(net, name.split("_")[0], labels, prepare, task=task))


IMAGE = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "task"), [("vit_digits", "classification"), ("dpt_small", "depth"), ("detr_small", "detection")]
)
def test_a_point_looks_where_its_token_does(name: str, task: str) -> None:
    predictor = predictor_of(name, task)
    found = point_attention(predictor, IMAGE, (0.3, 0.9))
    inputs = predictor.prepare(IMAGE)[None]
    with saccade.record(predictor.model) as trace, torch.no_grad():
        predictor.model(inputs)
    layout = trace.layout
    rows, columns = layout.grid
    token = layout.index(int(0.9 * rows), int(0.3 * columns))
    assert found.maps.shape == (len(found.layers), rows, columns)
    for path, shown in zip(found.layers, found.maps):
        weights = trace.attention[path][0, :, token].mean(0)
        np.testing.assert_allclose(shown.ravel(), weights[layout.num_prefix :].numpy(), atol=1e-6)
    assert len(point_figure([found]).axes) == 1 + len(found.layers)


def test_no_point_outside_and_none_without_attention() -> None:
    with pytest.raises(RecordingError, match="between 0 and 1"):
        point_attention(predictor_of("vit_digits", "classification"), IMAGE, (1.5, 0.5))
    with pytest.raises(RecordingError, match="no attention"):
        point_attention(predictor_of("resnet18_small", "classification"), IMAGE, (0.5, 0.5))


def test_queries_look_and_answer() -> None:
    predictor = predictor_of("detr_small", "detection")
    found = found_objects(predictor, IMAGE, threshold=0.0, top=3)
    assert len(found.objects) == 3
    scores = [thing.box.score for thing in found.objects]
    assert scores == sorted(scores, reverse=True)
    for thing in found.objects:
        assert thing.attention.shape == (8, 8)
        assert thing.attention.sum() == pytest.approx(1, abs=1e-4)
    assert len(objects_figure([found]).axes) == 4
    boxes = query_boxes(predictor, [IMAGE, IMAGE[::-1]])
    assert boxes.shape == (2, 16, 5)
    shown = found.objects[0]
    left, upper, right, lower = shown.box.box
    x, y, *_, score = boxes[0, shown.query]
    np.testing.assert_allclose(
        [x * 128, y * 128, score], [(left + right) / 2, (upper + lower) / 2, shown.box.score], atol=1e-3
    )
    assert queries_svg(boxes).startswith("<svg")


def test_only_a_detr_has_queries() -> None:
    with pytest.raises(ConfigError, match="classical"):
        found_objects(predictor_of("yolo_small", "detection"), IMAGE)
    with pytest.raises(RecordingError, match="classification"):
        query_boxes(predictor_of("vit_digits", "classification"), [IMAGE])
