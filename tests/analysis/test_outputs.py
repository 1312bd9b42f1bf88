"""Maps of one output of many, and through latents and decoders: even attention, one place that is read, gradients."""

import numpy as np
import pytest
import torch

from saccade.analysis.gradient_maps import block_inputs, grad_cam, relevance_map, tokens_read
from saccade.analysis.image_maps import image_map
from saccade.analysis.image_run import run_images
from saccade.analysis.outputs import best_query, class_score
from saccade.analysis.relevance import read_relevance, stream_relevance
from saccade.analysis.streams import IMAGE, recorded_steps
from saccade.errors import ConfigError
from saccade.models.detr import DetrOutput
from saccade.models.dpt import DPTOutput
from saccade.models.yolo import YoloOutput
from tests.analysis.families import build, even, image


def test_rollout_of_an_even_perceiver() -> None:
    """The output keeps half; of the other half the latents keep a quarter, after two reads of the image."""
    for size in (8, 12):
        predictor = build("perceiver", size)
        even(predictor.model)
        values = image_map(predictor, image(), "rollout").values
        np.testing.assert_allclose(values, 0.5 * 0.75 / size**2, rtol=1e-5)
        np.testing.assert_allclose(image_map(predictor, image(), "attention", layer=0).values, 1 / size**2, rtol=1e-5)


def test_rollout_of_an_even_decoder() -> None:
    """A query takes half of what it holds from the image in each of two blocks."""
    for size in (64, 96):
        predictor = build("detr", size)
        even(predictor.model)
        values = image_map(predictor, image(size), "rollout", query=3).values
        np.testing.assert_allclose(values, 0.75 / values.size, rtol=1e-5)


def test_relevance_of_a_class_token_is_what_is_read_of_it() -> None:
    """The class is read from one token behind the last block: both ways to go back from it agree."""
    predictor = build("vit")
    with block_inputs(predictor.model) as entering:
        run = run_images(predictor, predictor.prepare(image())[None], tokens=True, grad=True)
    score, _ = class_score(run.outputs, 1)
    paths = list(run.trace.attention)
    gradients = torch.autograd.grad(score, list(run.trace.attention.values()), retain_graph=True)
    steps = recorded_steps(run.trace, run.reader, dict(zip(paths, gradients)))
    reads = tokens_read(score, run.trace.tokens, entering, run.trace.layout.num_tokens)
    last = reads[steps[-1].path]
    torch.testing.assert_close(last, torch.eye(len(last))[0])
    assert sum(float(read.sum()) for read in reads.values()) == pytest.approx(1)
    whole = stream_relevance(steps)[IMAGE][0] - torch.eye(len(last))[0]
    torch.testing.assert_close(read_relevance(steps, reads), whole)


def test_a_depth_that_reads_one_patch() -> None:
    """With the maps of all taps but the last switched off, depth at a point is read from the patches around it."""
    predictor = build("depth")
    with torch.no_grad():
        for narrow in predictor.model.narrow[:3]:
            narrow.weight.zero_()
    with block_inputs(predictor.model) as entering:
        run = run_images(predictor, predictor.prepare(image())[None], reader=predictor.model, tokens=True, grad=True)
    score, values = class_score(run.outputs, None, point=(0.1, 0.9))
    assert values.shape == (1,)
    reads = tokens_read(score, run.trace.tokens, entering, run.trace.layout.num_tokens)
    totals = [float(read.sum()) for read in reads.values()]
    assert totals[-1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["depth", "segmentation", "detr", "yolo"])
def test_places_have_maps_of_their_own(name: str) -> None:
    predictor = build(name)
    inputs = predictor.prepare(image())[None]
    options = [{"point": (0.1, 0.1)}, {"point": (0.9, 0.9)}]
    if name in ("detr", "yolo"):
        options = [{"query": 0}, {"query": 3}]
    for method in (relevance_map, grad_cam):
        if name == "yolo" and method is relevance_map:
            continue
        first, second = (method(predictor, inputs, 0, **option).values for option in options)
        assert first.shape == second.shape
        assert not torch.allclose(first, second), method
        assert (first >= 0).all()


def test_the_area_of_a_class() -> None:
    logits = torch.tensor([[[2.0, 1], [0, 3]], [[1, 4], [2, 1]]])[None]
    score, all_scores = class_score(DPTOutput(logits), 1)
    assert score == 3  # the mean of 4 and 2, where class 1 is the best
    torch.testing.assert_close(all_scores, torch.tensor([0.5, 3.0]))
    assert class_score(DPTOutput(logits), 0, point=(0.9, 0.1))[0] == 1
    assert class_score(DPTOutput(logits[:, 0]), None, point=(0.2, 0.9))[0] == 0
    with pytest.raises(ConfigError, match="give its point"):
        class_score(DPTOutput(logits[:, 0]), None)
    with pytest.raises(ConfigError, match="a point is for dense outputs"):
        class_score(torch.zeros(1, 3), None, point=(0.5, 0.5))
    with pytest.raises(ConfigError, match="a query is for detectors"):
        class_score(torch.zeros(1, 3), None, query=1)


def test_the_best_box_around_a_point() -> None:
    boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.4, 0.4], [0.5, 0.5, 1, 1]]])
    logits = torch.tensor([[[9.0, 0, 0], [3, 0, 0], [1, 0, 9]]])  # the last is "no object"
    detr = DetrOutput(logits, boxes)
    assert [best_query(detr), best_query(detr, point=(0.7, 0.7)), best_query(detr, 2)] == [0, 1, 2]
    assert best_query(detr, point=(0.05, 0.9)) == 2
    yolo = YoloOutput(logits, boxes, torch.zeros(3, 2), torch.ones(3))
    assert best_query(yolo, point=(0.7, 0.7)) == 2  # its last class is one
    with pytest.raises(ConfigError, match="there is no query 7"):
        best_query(detr, 7)
    with pytest.raises(ConfigError, match="no predicted box"):
        best_query(DetrOutput(logits[:, :2], boxes[:, :2]), point=(0.05, 0.9))
