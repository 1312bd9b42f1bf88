"""Trained models for images with another number of channels."""

from pathlib import Path

import pytest
import timm
import torch
from timm.models import adapt_input_conv

import saccade
from saccade.checkpoints.channels import adapt_channels
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.checkpoints.loading import adapt, load_model
from saccade.engine.images import fresh_preprocessing
from saccade.errors import CheckpointError
from saccade.models.zoo import architecture_of, create


def trained(name: str, **arguments) -> LoadedModel:
    model = create(name, **arguments).eval()
    labels = tuple(str(i) for i in range(model.config.num_classes))
    return LoadedModel(model, architecture_of(name), labels, fresh_preprocessing(model))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 12])
def test_the_first_convolution_is_that_of_timm(channels: int) -> None:
    weight = torch.randn(8, 3, 4, 4)
    torch.testing.assert_close(adapt_channels(weight, channels), adapt_input_conv(channels, weight), rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18"])
def test_logits_are_those_of_timm(name: str, channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = {"img_size": 64} if name.startswith("vit") else {}
    published = timm.create_model(name, num_classes=7, **size)
    torch.save(published.state_dict(), tmp_path / "published.pth")
    adapted = timm.create_model(
        name, num_classes=7, in_chans=channels, pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "published.pth"), "num_classes": 7}, **size,
    )  # fmt: skip
    loaded = load_model(tmp_path / "published.pth", in_channels=channels)
    images = torch.randn(2, channels, 64, 64)
    with torch.no_grad():
        expected = adapted.eval()(images)
        torch.testing.assert_close(loaded.model(images), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert loaded.preprocessing is not None
    assert loaded.preprocessing.channels == channels == len(loaded.preprocessing.mean)
    assert any("channels" in what for what in loaded.report.resized.values())


@pytest.mark.parametrize(
    "name", ["vit_digits", "conv_vit7", "resnet18_small", "convmixer_256_8", "lenet", "detr_small"]
)
def test_equal_channels_give_the_output_of_one(name: str) -> None:
    loaded = trained(name)
    image = torch.rand(1, 1, *loaded.model.config.image_size)
    old = loaded.model.config.in_channels
    six = adapt(loaded, in_channels=6).model
    with torch.no_grad():
        one, many = loaded.model(image.expand(-1, old, -1, -1)), six(image.expand(-1, 6, -1, -1))
    first, second = (x if isinstance(x, torch.Tensor) else x.logits for x in (one, many))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5 * first.abs().max().item())


def test_statistics_follow_the_kernels(tmp_path: Path) -> None:
    save_model_dir(tmp_path / "model", trained("vit_digits", in_channels=3))
    preprocessing = saccade.load(tmp_path / "model", in_channels=4).preprocess
    assert preprocessing.mean == (0.5,) * 4
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "resnet18.pth")
    assert load_model(tmp_path / "resnet18.pth", in_channels=5).preprocessing.mean == (
        0.485,
        0.456,
        0.406,
        0.485,
        0.456,
    )
    assert load_model(tmp_path / "resnet18.pth", in_channels=1).preprocessing.mean == pytest.approx((0.449,))


def test_of_a_masked_autoencoder_the_prediction_of_pixels_is_new() -> None:
    adapted = adapt(trained("mae_digits"), in_channels=4)
    assert adapted.report.new == ["decoder_pred.weight", "decoder_pred.bias"]


def test_refusals() -> None:
    with pytest.raises(CheckpointError, match=r"in_channels=5: .* reads the 1 channels of a pixel"):
        adapt(trained("perceiver_digits"), in_channels=5)
    with pytest.raises(CheckpointError, match="in_channels must be a positive number, not 0"):
        adapt(trained("vit_digits"), in_channels=0)
