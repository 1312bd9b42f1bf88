"""Preprocessing against the projects whose checkpoints need it, and its own rules."""

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from saccade.errors import ConfigError, ImageError


def picture(width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(0)
    low = generator.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC)


SIZES = [(500, 375), (333, 517), (224, 224), (100, 80), (1023, 301)]


@pytest.mark.parametrize("size", SIZES)
def test_equals_timm(size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("timm.data.transforms_factory")
    theirs = transforms.transforms_imagenet_eval(224, crop_pct=0.9, interpolation="bicubic")
    ours = Preprocessing((224, 224), "shortest", 0.9, "bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    torch.testing.assert_close(ours(picture(*size)), theirs(picture(*size)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_equals_torchvision(size: tuple[int, int]) -> None:
    from torchvision.models import ViT_B_16_Weights

    theirs = ViT_B_16_Weights.IMAGENET1K_V1.transforms()
    ours = Preprocessing((224, 224), "shortest", 0.875, "bilinear")
    torch.testing.assert_close(ours(picture(*size)), theirs(picture(*size)), atol=1e-6, rtol=0)


def test_shortest_has_torchvisions_integers_at_every_size() -> None:
    import torchvision.transforms.functional as theirs

    sizes = [(height, width) for height in range(1, 700, 3) for width in range(1, 700)]
    sizes += [(107, 214), (214, 107), (1023, 301), (3000, 4501)]  # 107 x 214: a factor in floating point gives 447
    for edge in (224, 256, 321):
        ours = Preprocessing((edge, edge), "shortest", 1.0)
        expected = [tuple(theirs._compute_resized_output_size(size, [edge])) for size in sizes]
        assert [ours.size_covering(*size) for size in sizes] == expected
    image = picture(214, 107)
    assert theirs.resize(image, [224]).size == (448, 224)
    expected = theirs.to_tensor(theirs.center_crop(theirs.resize(image, [224]), [224]))
    ours = Preprocessing((224, 224), "shortest", 1.0, "bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)
    torch.testing.assert_close(ours(image), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_equals_hugging_face(size: tuple[int, int]) -> None:
    transformers = pytest.importorskip("transformers")
    processor = transformers.ViTImageProcessor(size={"height": 224, "width": 224})
    theirs = processor(picture(*size), return_tensors="pt")["pixel_values"][0]
    ours = Preprocessing((224, 224), "exact", 1.0, "bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)(picture(*size))
    # Their tensor resize and PIL's differ in the last of 256 levels, here and there.
    assert (ours - theirs).abs().max() <= 2.1 / 127.5
    assert (ours - theirs).abs().mean() < 0.5 / 127.5


@pytest.mark.parametrize("resize", ["shortest", "exact", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_any_image_comes_out_at_the_size(resize: str, size: tuple[int, int]) -> None:
    assert tuple(Preprocessing((96, 64), resize)(picture(*size)).shape) == (3, 96, 64)


def test_padding_is_zero_after_normalisation() -> None:
    out = Preprocessing((64, 64), "pad")(Image.new("RGB", (64, 16), "white"))
    assert out[:, :20].abs().max() < 0.01
    assert out[:, 30].min() > 1


def test_value_range_and_back() -> None:
    half = Preprocessing((8, 8), "exact", 1.0, value_range=(-1.0, 1.0), mean=(0.0,) * 3, std=(1.0,) * 3)
    black = half(Image.new("RGB", (8, 8), "black"))
    assert black.min() == black.max() == -1
    image = torch.rand(3, 8, 8)
    torch.testing.assert_close(half.denormalize(half.normalize(image)), image)


def test_round_trip_and_bad_values() -> None:
    import json

    preprocessing = Preprocessing((32, 48), "pad", interpolation="bilinear")
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing
    with pytest.raises(ConfigError, match=r"did you mean preprocessing\.crop_pct"):
        Preprocessing.from_dict({"crop_pc": 0.9})
    for invalid in ({"size": (0, 3)}, {"resize": "x"}, {"crop_pct": 0}, {"mean": (0.5,)}, {"std": (0.0, 1.0, 1.0)}):
        with pytest.raises(ConfigError):
            Preprocessing(**invalid)


def test_what_the_model_sees_of_the_image() -> None:
    assert Preprocessing((100, 100), "shortest", 0.5).box_of((200, 400)) == (150.0, 50.0, 250.0, 150.0)
    assert Preprocessing((100, 100), "exact", 1.0).box_of((200, 400)) == (0, 0, 400, 200)
    assert Preprocessing((100, 100), "exact", 0.8).box_of((200, 400)) == pytest.approx((40, 20, 360, 180))
    assert Preprocessing((100, 100), "pad").box_of((200, 400)) == (0.0, -100.0, 400.0, 300.0)


def test_thin_images_are_refused_or_bounded() -> None:
    thin = Image.new("RGB", (30000, 1))
    with pytest.raises(ImageError, match="too thin"):
        Preprocessing()(thin)
    assert Preprocessing((64, 64), "pad", 1.0)(thin).shape == (3, 64, 64)
    assert Preprocessing((800, 1333), "range", 1.0)(Image.new("RGB", (5000, 1))).shape == (3, 1, 1333)
