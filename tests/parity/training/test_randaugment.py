"""RandAugment against timm's: every operation to the bit, and how much images change."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from saccade.data.augmentation import TrainTransform, randaugment
from saccade.data.batch_augmentation import BatchAugmentation
from saccade.data.config import AugmentationConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.randaugment import OPERATIONS, RandAugment, parse_timm
from saccade.errors import ConfigError

DEIT = "rand-m9-mstd0.5-inc1"
FILL = (124, 116, 104)
TIMMS = {"Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness"}  # these have "Increasing" behind
PREPROCESSING = Preprocessing((48, 48))


@pytest.fixture
def black_at_zero_bits(monkeypatch) -> None:
    """PIL before version 12 posterised to 0 bits; timm still does."""
    posterize = ImageOps.posterize
    black = lambda image, bits: posterize(image, bits) if bits else image.point(lambda value: 0)  # noqa: E731
    monkeypatch.setattr(ImageOps, "posterize", black)


def photo(size: int = 48) -> Image.Image:
    generator = np.random.default_rng(0)
    low = generator.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(low).resize((size + 9, size), Image.Resampling.BICUBIC)


def timms_name(name: str) -> str:
    if name.startswith("Translate"):
        return f"{name}Rel"
    return f"{name}Increasing" if name in TIMMS else name


@pytest.mark.usefixtures("black_at_zero_bits")
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_operations_are_timms(name: str, mode: str, monkeypatch) -> None:
    timm = pytest.importorskip("timm.data.auto_augment")
    image, fill = photo().convert(mode), FILL if mode == "RGB" else 116
    hparams = {"img_mean": fill, "interpolation": Image.Resampling.BICUBIC}
    for magnitude in (0, 0.4, 3, 8.37, 9, 10):
        for sign, drawn in ((1, 0.3), (-1, 0.7)):
            monkeypatch.setattr(random, "random", lambda drawn=drawn: drawn)
            theirs = timm.AugmentOp(timms_name(name), prob=1.0, magnitude=magnitude, hparams=hparams)(image)
            ours = OPERATIONS[name](image, magnitude / 10, sign, Image.Resampling.BICUBIC, fill)
            assert np.array_equal(np.asarray(ours), np.asarray(theirs)), (magnitude, sign)


def test_the_set_is_timms() -> None:
    timm = pytest.importorskip("timm.data.auto_augment")
    assert [timms_name(name) for name in OPERATIONS] == timm.rand_augment_choices("", increasing=True)


@pytest.mark.usefixtures("black_at_zero_bits")
def test_images_change_as_much_and_as_often_as_timms() -> None:
    timm = pytest.importorskip("timm.data.auto_augment")
    theirs = timm.rand_augment_transform(DEIT, {"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC})
    ours = randaugment(DEIT, PREPROCESSING)
    assert ours == RandAugment(2, 9.0, 0.5, Image.Resampling.BICUBIC, FILL)
    image, count = photo(24), 4000
    original = np.asarray(image, dtype=np.float64)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    statistics = []
    for transform in (ours, theirs):
        images = np.stack([np.asarray(transform(image), dtype=np.float64) for _ in range(count)])
        change = np.abs(images - original).mean(axis=(1, 2, 3))
        statistics.append(((change == 0).mean(), images.mean(), images.std(axis=(1, 2, 3)).mean(), change.mean()))
    (untouched, mean, contrast, change), (their_untouched, their_mean, their_contrast, their_change) = statistics
    # Four standard deviations of the difference of two samples of this size.
    assert untouched == pytest.approx(their_untouched, abs=4 * (2 * 0.26 * 0.74 / count) ** 0.5)
    assert 0.24 < untouched < 0.29
    assert mean == pytest.approx(their_mean, abs=2.5)
    assert contrast == pytest.approx(their_contrast, abs=1.5)
    assert change == pytest.approx(their_change, abs=2.5)


def test_magnitudes_are_drawn_and_clipped(monkeypatch) -> None:
    levels: list[float] = []
    monkeypatch.setattr("saccade.data.randaugment.OPERATIONS", {"": lambda image, level, *rest: levels.append(level)})
    transform = RandAugment(1, 9.0, 0.5, Image.Resampling.BICUBIC, 0)
    torch.manual_seed(0)
    for _ in range(2000):
        transform(photo(8))
    drawn = torch.tensor(levels) * 10
    assert len(drawn) / 2000 == pytest.approx(0.5, abs=0.05)
    assert drawn.max() == 10
    assert (drawn == 10).float().mean().item() == pytest.approx(0.0228, abs=0.015)  # two standard deviations above 9
    assert drawn.mean().item() == pytest.approx(9, abs=0.05)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.05)
    levels.clear()
    RandAugment(40, 0.0, 0.0, Image.Resampling.BICUBIC, 0)(photo(8))
    assert set(levels) == {0}


def test_configs() -> None:
    assert parse_timm("rand-m7-n3-inc1") == (3, 7.0, 0.0)
    assert parse_timm("rand-m10-mstd0.5-inc1") == (2, 10.0, 0.5)
    for text in ("rand-m9", "rand-m9-mstd0.5", "rand-inc1", "rand-m11-inc1", "augmix-m3", "rand-m9-w0-inc1", "2"):
        with pytest.raises(ConfigError, match="must look like rand-m9-mstd"):
            TrainTransform(PREPROCESSING, AugmentationConfig(randaugment=text))
    with pytest.raises(ConfigError, match="single images"):
        BatchAugmentation(AugmentationConfig(None, randaugment=DEIT, where="batch"), PREPROCESSING, 2, 0)
    grey = Preprocessing((8, 8), channels=1, mean=(0.25,), std=(0.5,), value_range=(-1.0, 1.0), interpolation="lanczos")
    assert randaugment(DEIT, grey) == RandAugment(2, 9.0, 0.5, Image.Resampling.BICUBIC, 159)
    bright = Preprocessing((8, 8), mean=(0.5, 1.0, 1.1))
    assert randaugment(DEIT, bright).fill == (128, 255, 255)  # type: ignore[attr-defined]
