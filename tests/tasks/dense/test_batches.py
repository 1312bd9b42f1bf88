"""Batches of images with maps: crops and flips of both, and what pads a batch."""

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.tasks.dense.batches import DenseDataset, DenseSample, DenseTransform
from saccade.tasks.dense.sources import IGNORE

HEIGHT, WIDTH = 60, 80
PREPROCESSING = Preprocessing((120, 160), resize="exact", crop_pct=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)


def test_a_crop_is_that_part_of_the_image_and_of_its_map() -> None:
    """Every pixel has its row and column as red and green; a map that is enlarged keeps all of a crop's pixels."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = Image.fromarray(np.stack((rows, columns, 0 * rows), axis=-1).astype(np.uint8))
    config = AugmentationConfig(crop_scale=(0.3, 0.6), flip=0.5)
    transform = DenseTransform(PREPROCESSING, config)
    mirrored, starts = set(), set()
    for seed in range(30):
        pixels, values = transform(image, rows * WIDTH + columns, (seed,))
        y, x = values // WIDTH, values % WIDTH
        height, width = len(y.unique()), len(x.unique())
        assert 0.29 < height * width / (HEIGHT * WIDTH) < 0.61
        assert height / width == pytest.approx(HEIGHT / WIDTH, abs=0.03)
        assert (pixels[0] * 255 - y).abs().mean() < 0.5
        assert (pixels[1] * 255 - x).abs().mean() < 0.5
        mirrored.add(bool(x[0, 0] > x[0, -1]))
        starts.add((int(y.min()), int(x.min())))
    assert mirrored == {True, False}
    assert len(starts) > 20


def test_an_image_of_one_pixel_is_its_own_crop() -> None:
    transform = DenseTransform(PREPROCESSING, AugmentationConfig(crop_scale=(0.3, 0.6), flip=0.0))
    for seed in range(8):
        _, values = transform(Image.new("RGB", (1, 1)), np.array([[7]]), (seed,))
        assert values.unique().tolist() == [7]


def test_crops_have_the_size_of_a_batch() -> None:
    """Also with preprocessing that keeps the aspect ratio, and rounds sizes in evaluation."""
    preprocessing = Preprocessing((5, 7), resize="inside", crop_pct=1.0, multiple=1)
    transform = DenseTransform(preprocessing, AugmentationConfig(crop_scale=(0.3, 0.6), flip=0.0))
    pixels, values = transform(Image.new("RGB", (WIDTH, HEIGHT)), np.zeros((HEIGHT, WIDTH)), (0,))
    assert pixels.shape == (3, 5, 7)
    assert values.shape == (5, 7)


@pytest.mark.parametrize(("dtype", "padding"), [(torch.int64, IGNORE), (torch.float32, float("nan"))])
def test_maps_are_padded_with_pixels_that_do_not_count(dtype: torch.dtype, padding: float) -> None:
    shapes = ((2, 3), (4, 1))
    samples = [DenseSample(torch.zeros(3, 4, 4), torch.ones(shape, dtype=dtype), "", 0, "") for shape in shapes]
    batch, _ = DenseDataset.collate(samples)
    expected = [[[1, 1, 1]] * 2 + [[padding] * 3] * 2, [[1, padding, padding]] * 4]
    np.testing.assert_array_equal(batch.labels["target"], np.array(expected, dtype=float))  # type: ignore[index]
    assert batch.labels["sizes"].tolist() == [[2, 3], [4, 1]]  # type: ignore[index]
    assert DenseDataset.collate(samples[:1])[0].labels["target"].tolist() == [[[1, 1, 1]] * 2]  # type: ignore[index]
