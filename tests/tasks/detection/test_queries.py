"""Object queries: their recorded cross-attention and their boxes; only a DETR has them."""

import numpy as np
import pytest
import torch

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.samples import Batch
from saccade.engine.predictor import Predictor, name_of
from saccade.errors import ConfigError
from saccade.models.detr import DetrOutput
from saccade.nn.recording import record
from saccade.tasks.detection.detr import DetrTask
from saccade.tasks.detection.queries import object_queries, query_boxes
from saccade.tasks.detection.report import queries_figure, queries_svg
from saccade.tasks.detection.setup import detector_preprocessing
from saccade.tasks.loading import predictor_of

IMAGE = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)


def detector(name: str) -> Predictor:
    torch.manual_seed(0)
    net = saccade.create(name)
    labels = tuple(map(str, range(net.config.num_classes)))
    return predictor_of(LoadedModel(net, name.split("_")[0], labels, detector_preprocessing(net), task="detection"))


def test_attention_and_boxes_of_queries() -> None:
    predictor = detector("detr_small")
    queries = object_queries(predictor, IMAGE, threshold=0.0, top=3)
    assert len(queries.objects) == 3
    scores = [query.box.score for query in queries.objects]
    assert scores == sorted(scores, reverse=True)
    for query in queries.objects:
        assert query.attention.shape == (8, 8)
        assert query.attention.sum() == pytest.approx(1, abs=1e-4)
    assert queries.name == name_of(IMAGE, 0)
    assert queries.best_score == scores[0]
    with record(predictor.model, layers=["decoder*.cross_attn"], tokens=False) as trace, torch.no_grad():
        predictor.model(predictor.prepare(IMAGE)[None])
    last = trace.attention[f"decoder.{len(trace.attention) - 1}.cross_attn"][0].mean(0)
    np.testing.assert_array_equal(queries.objects[0].attention.flatten(), last[queries.objects[0].query])
    assert len(object_queries(predictor, IMAGE, threshold=scores[1]).objects) == 2
    assert len(queries_figure([queries]).axes) == 4
    boxes = query_boxes(predictor, [IMAGE, IMAGE[::-1]])
    assert boxes.shape == (2, 16, 5)
    first = queries.objects[0]
    left, top, right, bottom = first.box.box
    x, y, *_, score = boxes[0, first.query]
    np.testing.assert_allclose(
        [x * 128, y * 128, score], [(left + right) / 2, (top + bottom) / 2, first.box.score], atol=1e-3
    )
    assert queries_svg(boxes).startswith("<svg")


def test_only_a_detr_has_object_queries() -> None:
    with pytest.raises(ConfigError, match="no object queries"):
        object_queries(detector("yolo_small"), IMAGE)
    with pytest.raises(ConfigError, match="no object queries"):
        query_boxes(detector("yolo_small"), [IMAGE])


def test_attention_is_of_queries_and_of_patches() -> None:
    predictor = detector("detr_small")
    outputs = DetrOutput(torch.zeros(1, 16, 5), torch.zeros(1, 16, 4))
    batch = Batch(torch.zeros(1, 3, 64, 96), None, ("",), torch.arange(1))  # type: ignore[arg-type]
    cross, patches, queries = DetrTask(()).attention_groups(predictor.model, outputs, batch)
    assert (len(cross.queries), len(cross.keys), len(queries.keys)) == (16, 4 * 6, 16)
    assert patches.keys.layout is not None
    assert patches.keys.layout.grid == (4, 6)
    assert DetrTask(()).attention_groups(torch.nn.Identity(), outputs, batch) == []
