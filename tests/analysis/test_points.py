"""What single points attend to: the recorded weights, not others; refusals."""

import numpy as np
import pytest
import torch

import saccade
from saccade.analysis.attention_maps import attention_maps
from saccade.analysis.inputs import Embedder
from saccade.analysis.points import point_attention
from saccade.checkpoints.directory import LoadedModel
from saccade.engine.images import fresh_preprocessing
from saccade.engine.predictor import Predictor
from saccade.errors import RecordingError
from saccade.reporting.points import point_figure
from saccade.tasks.detection.setup import detector_preprocessing
from saccade.tasks.loading import predictor_of


def created(name: str, task: str) -> Predictor:
    torch.manual_seed(0)
    net = saccade.create(name)
    preprocessing = detector_preprocessing(net) if task == "detection" else fresh_preprocessing(net)
    labels = tuple(map(str, range(net.config.num_classes)))
    return predictor_of(LoadedModel(net, name.split("_")[0], labels, preprocessing, task=task))


IMAGE = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "task"), [("vit_digits", "classification"), ("dpt_small", "depth"), ("detr_small", "detection")]
)
def test_a_point_has_the_attention_of_its_token(name: str, task: str) -> None:
    predictor = created(name, task)
    point = point_attention(predictor, IMAGE, (0.3, 0.9))
    inputs = predictor.prepare(IMAGE)[None]
    with saccade.record(predictor.model) as trace, torch.no_grad():
        predictor.model(inputs)
    layout = trace.layout
    rows, columns = layout.grid
    token = layout.index(int(0.9 * rows), int(0.3 * columns))
    assert point.maps.shape == (len(point.layers), rows, columns)
    for path, shown in zip(point.layers, point.maps):
        weights = trace.attention[path][0, :, token].mean(0)
        np.testing.assert_allclose(shown.ravel(), weights[layout.num_prefix :].numpy(), atol=1e-6)
    drawn = [axes for axes in point_figure([point]).axes if axes.images]
    assert len(drawn) == 1 + len(point.layers)


def test_no_point_outside_and_none_without_attention() -> None:
    with pytest.raises(RecordingError, match="between 0 and 1"):
        point_attention(created("vit_digits", "classification"), IMAGE, (1.5, 0.5))
    with pytest.raises(RecordingError, match="no attention"):
        point_attention(created("resnet18_small", "classification"), IMAGE, (0.5, 0.5))


def test_a_convolutional_image_encoder_is_named_as_the_reason() -> None:
    model = saccade.create("clip_small", num_classes=0).eval()
    with pytest.raises(RecordingError, match=r"this CLIP has no self-attention over an image: .* is convolutional"):
        attention_maps(Embedder(model), torch.rand(1, 3, 64, 64))
