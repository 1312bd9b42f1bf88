"""Maps by gradients: closed forms, other libraries' results, every family of classifiers, refusals."""

import numpy as np
import pytest
import torch

import saccade
from saccade.analysis.gradient_maps import cam, grad_cam, relevance_map
from saccade.analysis.image_maps import METHODS, image_map
from saccade.analysis.relevance import stream_relevance
from saccade.analysis.streams import Step
from saccade.errors import ConfigError, RecordingError
from tests.analysis.test_points import IMAGE, created


def step(weights: torch.Tensor, gradient: float = 1.0, queries: str = "image", keys: str = "image") -> Step:
    return Step("", queries, keys, weights[None], torch.full_like(weights[None], gradient))


def test_relevance_of_one_and_two_layers() -> None:
    """With a gradient of 1 a layer adds its attention: R = (I + A₂)(I + A₁); a negative gradient adds nothing."""
    first, second = torch.rand(2, 4, 4).softmax(-1)
    eye = torch.eye(4)
    for layers, expected in (
        ([step(first)], eye + first),
        ([step(first), step(second)], (eye + second) @ (eye + first)),
        ([step(first, -1.0)], eye),
    ):
        torch.testing.assert_close(stream_relevance(layers)["image"], expected)


def test_relevance_of_a_decoder() -> None:
    """Without self-attention on either side the relevance is the cross-attention; with one in the encoder its rows pass
    it on: half to the token itself and half to the others would need R̄ = I + rows that sum to 1."""
    own, cross, encoder = torch.rand(3, 3).softmax(-1), torch.rand(3, 5).softmax(-1), torch.rand(5, 5).softmax(-1)

    def relevance(encoder_gradient: float, own_gradient: float, blocks: int = 1) -> torch.Tensor:
        block = [step(own, own_gradient, "queries", "queries"), step(cross, 1.0, "queries", "image")]
        return stream_relevance([step(encoder, encoder_gradient), *block * blocks])["image"]

    torch.testing.assert_close(relevance(0.0, 0.0), cross)
    torch.testing.assert_close(relevance(1.0, 0.0), cross @ (torch.eye(5) + encoder))
    torch.testing.assert_close(relevance(0.0, 1.0), (torch.eye(3) + own).T @ cross)
    torch.testing.assert_close(relevance(0.0, 0.0, blocks=2), 2 * cross)


def test_the_gradient_is_that_of_the_weights() -> None:
    """Raising one weight of the last layer by ε changes the logit by ε times its gradient."""
    predictor = created("vit_digits", "classification")
    inputs = predictor.prepare(IMAGE)[None]
    net = predictor.model
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    made = relevance_map(predictor, inputs, 3)
    with saccade.record(net) as trace:
        logits = net(inputs)
    paths = list(trace.attention)
    gradients = torch.autograd.grad(logits[0, 3], [trace.attention[p] for p in paths])
    layers = [Step(p, "image", "image", trace.attention[p][0].detach(), g[0]) for p, g in zip(paths, gradients)]
    expected = stream_relevance(layers)["image"][0, trace.layout.num_prefix :].reshape(4, 4)
    torch.testing.assert_close(made.values, expected)
    assert all(p.grad is None for p in net.parameters())


def test_grad_cam_is_that_of_the_library() -> None:
    library = pytest.importorskip("pytorch_grad_cam")
    predictor = created("resnet18_small", "classification")
    torch.manual_seed(1)
    inputs = torch.randn(1, 3, 32, 32)
    made = grad_cam(predictor, inputs, 2).values
    layers = [m for m in predictor.model.modules() if type(m).__name__ in ("BasicBlock", "Bottleneck", "ResidualBlock")]
    targets = [library.utils.model_targets.ClassifierOutputTarget(2)]
    with library.GradCAM(predictor.model, layers[-1:]) as official:
        expected = official(inputs, targets)[0]
    values = torch.nn.functional.interpolate(made[None, None], size=(32, 32), mode="bilinear")[0, 0].numpy()
    assert np.corrcoef(values.ravel(), expected.ravel())[0, 1] > 0.99
    assert made.shape == (4, 4)


def test_cam_of_one_feature() -> None:
    features = torch.tensor([[[1.0, -2.0]], [[0.5, 0.5]]])
    gradient = torch.tensor([[[2.0, 4.0]], [[-1.0, -1.0]]])
    torch.testing.assert_close(cam(features, gradient), torch.tensor([[3 - 0.5, 0.0]]))


@pytest.mark.parametrize("name", ["vit_digits", "conv_vit_digits", "deit_ti16", "hybrid_r_ti16"])
@pytest.mark.parametrize("method", ["relevance", "grad-cam"])
def test_transformers(name: str, method: str) -> None:
    predictor = created(name, "classification")
    torch.manual_seed(0)
    for path, parameter in predictor.model.named_parameters():
        if "head" in path:
            torch.nn.init.normal_(parameter)
    layout = predictor.model.token_layout()
    one, two = (image_map(predictor, IMAGE, method, target=target).values for target in ("1", "2"))
    assert one.shape == two.shape == layout.grid
    assert (one >= 0).all()
    assert one.max() > 0 or two.max() > 0
    assert not np.allclose(one, two)  # of different classes


@pytest.mark.parametrize("name", ["lenet", "alexnet", "resnet18_small", "vgg11", "convnext_t"])
def test_convolutional_networks_have_grad_cam(name: str) -> None:
    predictor = created(name, "classification")
    values = image_map(predictor, IMAGE, "grad-cam").values
    assert values.ndim == 2
    assert min(values.shape) > 1
    assert not any(module._forward_hooks for module in predictor.model.modules())
    with pytest.raises(ConfigError, match="give no layer"):
        image_map(predictor, IMAGE, "grad-cam", layer=0)


def test_a_query_of_a_detector_has_relevance() -> None:
    predictor = created("detr_small", "detection")
    inputs = predictor.prepare(IMAGE)[None]
    first, second = (relevance_map(predictor, inputs, 0, query=query).values for query in (0, 5))
    assert tuple(first.shape) == predictor.model.token_layout(tuple(inputs.shape[-2:])).grid
    assert first.max() > 0
    assert not torch.allclose(first, second)
    with pytest.raises(ConfigError, match="there is no query"):
        relevance_map(predictor, inputs, 0, query=10_000)


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("dpt_small", "depth", "give its point"),
        ("image_to_text_strips", "seq2seq", "no classes"),
    ],
)
def test_models_without_classes_of_an_image(name: str, task: str, message: str) -> None:
    with pytest.raises((ConfigError, RecordingError), match=message):
        image_map(created(name, task), IMAGE, "grad-cam")


@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
def test_captum(method: str) -> None:
    pytest.importorskip("captum")
    predictor = created("vit_digits", "classification")
    made = image_map(predictor, IMAGE, method, target="4")
    assert made.values.shape == (8, 8)
    if method == "integrated-gradients":  # completeness: they sum to the difference from the mean colour
        inputs = predictor.prepare(IMAGE)[None]
        logits = predictor.run(torch.cat((inputs, torch.zeros_like(inputs))))[:, 4]
        assert made.values.sum() == pytest.approx((logits[0] - logits[1]).item(), abs=2e-3)


def test_options_that_do_not_fit() -> None:
    predictor = created("vit_digits", "classification")
    for method, options, message in (
        ("rollout", {"target": "1"}, "does not depend on the class"),
        ("relevance", {"layer": 1}, "takes no layer"),
        ("relevance", {"target": "cat"}, "no class 'cat'"),
        ("grad-cam", {"head": 1}, "all heads"),
        ("lime", {}, "there is no method"),
    ):
        with pytest.raises(ConfigError, match=message):
            image_map(predictor, IMAGE, method, **options)
    assert len(METHODS) == 9
