"""Strips of handwritten digits, and what they say: scikit-learn's digits in a row, "three seven one"."""

import hashlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from saccade.data.builtin.digits import digits_by_split
from saccade.data.builtin.scenes import NAMES, SPLIT_NUMBERS
from saccade.data.config import StripsConfig
from saccade.data.samples import CaptionedImage, DataSplits
from saccade.errors import ConfigError

HEIGHT, SIDE, GAP = 12, 8, 3  # pixels of a strip, of a digit, most between two
MOST = 5  # digits that a strip has room for
WIDTH = 56


class StripSource:
    """The strips of a split: each is a function of its number, and no digit is in two splits."""

    classes: tuple[str, ...] = ()

    def __init__(self, split: str, count: int, config: StripsConfig):
        self.split, self.count, self.config = split, count, config
        self.labels = np.zeros(count, dtype=np.int64)
        self.names: Sequence[str] = [f"strips/{split}/{number}" for number in range(count)]

    def __len__(self) -> int:
        return self.count

    def with_captions(self, index: int) -> CaptionedImage:
        random = np.random.default_rng([self.config.seed, SPLIT_NUMBERS[self.split], index])
        source = digits_by_split()[self.split]
        canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
        low, high = self.config.digits
        left, words = 0, []
        for chosen in random.integers(len(source), size=int(random.integers(low, high + 1))).tolist():
            left += int(random.integers(GAP + 1))
            top = int(random.integers(HEIGHT - SIDE + 1))
            digit = source.image(chosen)
            if self.split == "train":
                digit = _varied(digit, random)
            canvas[top : top + SIDE, left : left + SIDE] = np.asarray(digit)
            left += SIDE
            words.append(NAMES[int(source.labels[chosen])])
        return CaptionedImage(Image.fromarray(canvas), (" ".join(words),))

    def captions(self, index: int) -> tuple[str, ...]:
        return self.with_captions(index).captions

    def image(self, index: int) -> Image.Image:
        return self.with_captions(index).image

    def data(self, index: int) -> bytes:
        buffer = io.BytesIO()
        self.image(index).save(buffer, "PNG")
        return buffer.getvalue()


def _varied(digit: Image.Image, random: np.random.Generator) -> Image.Image:
    """Turned and stretched a little, so that few digits teach what digits look like."""
    turn, slant = np.radians(random.uniform(-12, 12)), random.uniform(-0.1, 0.1)
    wide, tall = random.uniform(0.85, 1.15, 2)
    back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ [[wide, slant], [0, tall]]
    middle = np.full(2, SIDE / 2)
    offset = middle - back @ (middle + random.uniform(-0.5, 0.5, 2))
    terms = (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1])
    return digit.transform((SIDE, SIDE), Image.Transform.AFFINE, terms, Image.Resampling.BICUBIC)  # else strokes blur


def strip_splits(config: StripsConfig) -> DataSplits:
    """Strips to train on, to choose by and to test on.

    Raises:
        ConfigError: more digits than a strip has room for, or no strips.
    """
    if not 1 <= config.digits[0] <= config.digits[1] <= MOST:
        raise ConfigError(f"data.strips.digits must be the fewest and the most, up to {MOST}, not {config.digits}")
    train, val, test = (
        StripSource(name, count, config) if count else None
        for name, count in (("train", config.train), ("val", config.val), ("test", config.test))
    )
    if train is None:
        raise ConfigError("data.strips.train must be at least 1")
    return DataSplits(train, val, test, (), "strips", hashlib.sha256(repr(config).encode()).hexdigest())
