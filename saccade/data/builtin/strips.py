"""Strips of handwritten digits with their transcription: scikit-learn's digits in a row, "three seven one"."""

import hashlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from saccade.data.builtin.digits import digits_by_split
from saccade.data.builtin.scenes import NAMES, SPLIT_NUMBERS
from saccade.data.config import StripsConfig
from saccade.data.images import grey_image
from saccade.data.samples import CaptionedImage, DataSplits
from saccade.errors import ConfigError

HEIGHT, WIDTH = 12, 56  # pixels of a strip
SIDE, MAX_GAP = 8, 3  # pixels of a digit, and between two
MAX_DIGITS = 5


class StripSource:
    """The strips of a split: each is a function of its number, and no digit is in two splits."""

    classes: tuple[str, ...] = ()

    def __init__(self, split: str, count: int, config: StripsConfig):
        self.split, self.count, self.config = split, count, config
        self.labels = np.zeros(count, dtype=np.int64)
        self.names: Sequence[str] = [f"strips/{split}/{number}" for number in range(count)]

    def __len__(self) -> int:
        return self.count

    def with_captions(self, index: int, channels: int = 3) -> CaptionedImage:
        random = np.random.default_rng([self.config.seed, SPLIT_NUMBERS[self.split], index])
        source = digits_by_split()[self.split]
        canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
        low, high = self.config.digits
        left, words = 0, []
        for digit_index in random.integers(len(source), size=int(random.integers(low, high + 1))).tolist():
            left += int(random.integers(MAX_GAP + 1))
            top = int(random.integers(HEIGHT - SIDE + 1))
            digit = source.image(digit_index)
            if self.split == "train":
                digit = _augment(digit, random)
            canvas[top : top + SIDE, left : left + SIDE] = np.asarray(digit)
            left += SIDE
            words.append(NAMES[int(source.labels[digit_index])])
        return CaptionedImage(grey_image(canvas, channels, self.names[index]), (" ".join(words),))

    def captions(self, index: int) -> tuple[str, ...]:
        return self.with_captions(index).captions

    def image(self, index: int, channels: int = 3) -> Image.Image:
        picture = self.with_captions(index, channels).image
        assert isinstance(picture, Image.Image)
        return picture

    def data(self, index: int) -> bytes:
        buffer = io.BytesIO()
        self.image(index).save(buffer, "PNG")
        return buffer.getvalue()


def _augment(digit: Image.Image, random: np.random.Generator) -> Image.Image:
    """A small random affine transformation, since the training digits are few."""
    angle, shear = np.radians(random.uniform(-12, 12)), random.uniform(-0.1, 0.1)
    width, height = random.uniform(0.85, 1.15, 2)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ [[width, shear], [0, height]]
    centre = np.full(2, SIDE / 2)
    offset = centre - matrix @ (centre + random.uniform(-0.5, 0.5, 2))
    terms = (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1])
    return digit.transform(
        (SIDE, SIDE), Image.Transform.AFFINE, terms, Image.Resampling.BICUBIC
    )  # bilinear blurs strokes


def strip_splits(config: StripsConfig) -> DataSplits:
    """Strips for training, validation and testing.

    Raises:
        ConfigError: more digits than a strip can hold, or no training strips.
    """
    if not 1 <= config.digits[0] <= config.digits[1] <= MAX_DIGITS:
        raise ConfigError(f"data.strips.digits must be a minimum and a maximum up to {MAX_DIGITS}, not {config.digits}")
    train, val, test = (
        StripSource(name, count, config) if count else None
        for name, count in (("train", config.train), ("val", config.val), ("test", config.test))
    )
    if train is None:
        raise ConfigError("data.strips.train must be at least 1")
    return DataSplits(train, val, test, (), "strips", hashlib.sha256(repr(config).encode()).hexdigest(), generated=True)
