"""scikit-learn's 1,797 real handwritten digits of 8 x 8 pixels, installed with the package."""

import hashlib
import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image

from saccade.data.images import grey_image
from saccade.data.samples import DataSplits
from saccade.deferred import Deferred
from saccade.errors import ConfigError

datasets, model_selection = Deferred("sklearn.datasets"), Deferred("sklearn.model_selection")

LEVELS = 16  # a pixel is the number of dark dots in a 4 x 4 cell
TEST_FRACTION, SPLIT_SEED = 0.2, 0  # fixed, so that all published results are on the same 360 images


class DigitsSource:
    """A subset of the digits, by their index in scikit-learn's order."""

    def __init__(self, indices: np.ndarray):
        pixels, labels = _digits()
        self.classes = tuple(str(digit) for digit in range(10))
        self.names: Sequence[str] = [f"digits/{index}" for index in indices]
        self.labels = labels[indices]
        self._pixels = pixels[indices]

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int, channels: int = 3) -> Image.Image:
        return grey_image(self._pixels[index], channels, self.names[index])

    def data(self, index: int) -> bytes:
        buffer = io.BytesIO()
        self.image(index).save(buffer, "PNG")
        return buffer.getvalue()


def digits_board(source: DigitsSource, indices: Sequence[int]) -> bytes:
    """Four digits as one image, two in a row, as the bytes of a PNG."""
    whole = Image.new("L", (16, 16))
    for place, index in enumerate(indices):
        whole.paste(source.image(index, channels=1), (8 * (place % 2), 8 * (place // 2)))
    buffer = io.BytesIO()
    whole.save(buffer, "PNG")
    return buffer.getvalue()


def digits_splits(val: int = 0) -> DataSplits:
    """1,437 training and 360 test digits, stratified by class.

    Args:
        val: number of training digits to hold out for validation, stratified by class; 0 for none.

    Raises:
        ConfigError: `val` is neither 0 nor in [10, 1000].
    """
    _, labels = _digits()
    train, test = model_selection.train_test_split(
        np.arange(len(labels)), test_size=TEST_FRACTION, random_state=SPLIT_SEED, stratify=labels
    )
    val_source, val_bytes = None, b""
    if val:
        if not 10 <= val <= 1000:
            raise ConfigError(f"data.digits.val must be 0, or from 10 to 1000 of the {len(train)} images, not {val}")
        train, indices = model_selection.train_test_split(
            train, test_size=val, random_state=SPLIT_SEED, stratify=labels[train]
        )
        val_source, val_bytes = DigitsSource(np.sort(indices)), np.sort(indices).tobytes()
    train, test = np.sort(train), np.sort(test)
    fingerprint = hashlib.sha256(train.tobytes() + test.tobytes() + val_bytes).hexdigest()
    source = DigitsSource(train)
    return DataSplits(source, val_source, DigitsSource(test), source.classes, "digits", fingerprint)


@cache
def digits_by_split() -> dict[str, DigitsSource]:
    """Disjoint digits for the splits of composed data; a tenth of the training digits are for validation."""
    splits = digits_splits()
    assert splits.test is not None
    train, test = ([int(name.split("/")[1]) for name in part.names] for part in (splits.train, splits.test))
    val = train[::10]
    indices = {"train": sorted(set(train) - set(val)), "val": val, "test": test}
    return {name: DigitsSource(np.array(part)) for name, part in indices.items()}


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels [1797, 8, 8] uint8 and labels [1797] int64."""
    pixels, labels = datasets.load_digits(return_X_y=True)
    return (pixels.reshape(-1, 8, 8) * (255 / LEVELS)).round().astype(np.uint8), labels.astype(np.int64)
