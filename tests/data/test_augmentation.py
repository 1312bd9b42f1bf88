"""Augmentation of single images: what is drawn, refused, and left as it is."""

import pytest
import torch
from torchvision.transforms import v2

from saccade.data.augmentation import PixelTransform, TrainTransform, colour_transform, parse_randaugment, randaugment
from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError

SMALL = Preprocessing((2, 2), "exact", 1.0, "bilinear")
PLAIN = AugmentationConfig(crop_scale=None, flip=0.0)


def test_pixels_of_a_float_image() -> None:
    """Rounded to levels; interpolation may leave the unit interval."""
    image = torch.tensor([[0.0, 0.66], [1.0, 0.25]]).expand(3, 2, 2)
    pixels = PixelTransform(SMALL)(image, ())
    assert pixels.dtype == torch.uint8
    assert pixels[1].tolist() == [[0, 168], [255, 64]]  # 168.3 and 63.75
    outside = torch.tensor([[-0.3, 1.3], [1.0, 0.0]]).expand(3, 2, 2)
    assert PixelTransform(SMALL)(outside, ())[2].tolist() == [[0, 255], [255, 0]]


@pytest.mark.parametrize(
    "options",
    [{"crop_scale": (0.5, 1.0)}, {"flip": 0.5}, {"randaugment": "2x9"}, {"color_jitter": 0.1}, {"erasing": 0.1}],
)
def test_any_augmentation_alone_is_random(options: dict) -> None:
    assert TrainTransform(SMALL, PLAIN).deterministic
    assert not TrainTransform(SMALL, AugmentationConfig(**{"crop_scale": None, "flip": 0.0, **options})).deterministic


def test_flips_are_horizontal() -> None:
    image = torch.arange(12.0).reshape(3, 2, 2) / 12
    output = TrainTransform(SMALL, AugmentationConfig(crop_scale=None, flip=1.0))(image, (0, 0, 0, 0))
    assert torch.equal(output, SMALL(image.flip(-1)))


def test_areas_of_crops() -> None:
    image = torch.rand(3, 2, 2)
    whole = TrainTransform(SMALL, AugmentationConfig(crop_scale=(1.0, 1.0), flip=0.0))
    torch.testing.assert_close(whole(image, (0, 0, 0, 0)), SMALL(image))
    for scale in ((0.0, 1.0), (0.5, 1.5), (0.7, 0.6)):
        with pytest.raises(ConfigError, match=r"0 < low <= high <= 1, not"):
            TrainTransform(SMALL, AugmentationConfig(crop_scale=scale))


def test_colours_of_grey_images() -> None:
    grey = Preprocessing((2, 2), channels=1, mean=(0.5,), std=(0.5,))
    for options in ({"randaugment": "2x9"}, {"color_jitter": 0.1}):
        assert colour_transform(AugmentationConfig(**options), grey) is not None


def test_magnitudes_of_torchvision() -> None:
    """0 to 30 of 31 bins."""
    assert parse_randaugment("3x30") == (3, 30)
    transform = randaugment("3x30", SMALL)
    assert isinstance(transform, v2.RandAugment)
    assert (transform.num_ops, transform.magnitude, transform.num_magnitude_bins) == (3, 30, 31)
    for text in ("2x31", "2", "x9", "2x-1"):
        with pytest.raises(ConfigError, match=f"not '{text}'"):
            parse_randaugment(text)
