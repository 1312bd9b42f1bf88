"""Preprocessing in a graph against Pillow's, to the bit."""

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.preprocessing import Interpolation, Preprocessing, Resize
from saccade.errors import ConfigError
from saccade.inference.export.preprocess import GraphPreprocessing
from saccade.inference.export.runner import padded_batch

SIZES = ((32, 40), (37, 53), (200, 91), (91, 200), (20, 15), (240, 320), (33, 41), (8, 8), (150, 60))


def random_image(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(height * width).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("resize", ["shortest", "exact", "pad", "range", "edges", "inside", "closest"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_any_size_has_pillows_pixels(resize: Resize, interpolation: Interpolation) -> None:
    size = (48, 64) if resize in ("range", "edges") else (32, 40)
    preprocessing = Preprocessing(size, resize, interpolation=interpolation, multiple=8 if resize == "closest" else 1)
    graph = GraphPreprocessing(preprocessing)
    for height, width in SIZES:
        image = random_image(height, width)
        expected = preprocessing(Image.fromarray(image))
        prepared = graph(torch.from_numpy(image)[None])
        assert prepared.valid.all() or resize == "pad"
        torch.testing.assert_close(prepared.images[0], expected, atol=1e-6, rtol=0)  # one level is 0.017


def test_a_padded_batch_has_the_pixels_of_each_image_alone() -> None:
    preprocessing = Preprocessing((48, 64), "range", channels=1, mean=(0.5,), std=(0.25,))
    images = [random_image(*size, channels=1)[..., None] for size in SIZES]
    inputs = padded_batch(images)
    prepared = GraphPreprocessing(preprocessing)(*(torch.from_numpy(value) for value in inputs.values()))
    for image, pixels, valid in zip(images, prepared.images, prepared.valid):
        expected = preprocessing(Image.fromarray(image[..., 0]))
        height, width = expected.shape[-2:]
        torch.testing.assert_close(pixels[:, :height, :width], expected, atol=1e-6, rtol=0)
        assert valid.sum() == height * width
        assert valid[:height, :width].all()
        assert not pixels[:, ~valid].any()


def test_other_filters_and_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="nearest"):
        GraphPreprocessing(Preprocessing(interpolation="nearest"))
    with pytest.raises(ConfigError, match="2 channels"):
        GraphPreprocessing(Preprocessing(channels=2, mean=(0.5, 0.5), std=(1.0, 1.0)))
