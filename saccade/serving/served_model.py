"""One model as the server runs it."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from saccade.analysis.image_maps import image_map
from saccade.data.images import read_scaled, rgb_pixels
from saccade.engine.predictor import Predictor
from saccade.engine.results import Result
from saccade.errors import ConfigError
from saccade.reporting.draw import to_png

MAX_PIXELS = 40_000_000  # of an image that a stranger sends


class Prepared(NamedTuple):
    """An input of a model."""

    value: Any  # as :meth:`Task.input_batch` takes it
    size: tuple[int, int]
    name: str


class ServedModel:
    """A model with its name in URLs. Its methods run on the server's threads, never on its event loop."""

    def __init__(self, name: str, predictor: Predictor):
        self.name, self.predictor = name, predictor
        predictor.max_pixels = min(predictor.max_pixels, MAX_PIXELS)

    @property
    def reads_images(self) -> bool:
        return self.predictor.reads_images

    def prepare(self, content: bytes | str) -> Prepared:
        """The content of an image file, or a text, as the model's input.

        Raises:
            ImageError: it is not an image, or too large.
        """
        value, size = self.predictor.read(io.BytesIO(content) if isinstance(content, bytes) else content)
        return Prepared(value, size, "input")

    def run(self, inputs: Sequence[Prepared]) -> Sequence[Result]:
        """One result per input."""
        values, sizes, names = zip(*inputs)
        return self.predictor.decode(self.predictor.task.input_batch(values, sizes, names))

    def warm_up(self) -> None:
        """Run the model once, so that the first request is not slower than the next.

        Raises:
            SaccadeError: the model has no prediction for a single input.
        """
        one: bytes | str = "a"
        if self.reads_images:
            picture = io.BytesIO()
            Image.new("RGB", (64, 48), (120, 120, 120)).save(picture, "PNG")
            one = picture.getvalue()
        self.run([self.prepare(one)])

    def drawn(self, content: bytes, result: Result) -> bytes:
        """A result drawn over its image: a PNG."""
        image, (height, width) = read_scaled(
            content, channels=self.predictor.preprocess.channels, max_pixels=self.predictor.max_pixels
        )
        return to_png(result.draw(np.asarray(Image.fromarray(rgb_pixels(image)).resize((width, height)))))

    def attention(self, content: bytes, layer: int) -> list[list[float]]:
        """The attention of one layer, the mean of its heads, over the patches of an image: ``[h][w]``.

        Raises:
            RecordingError: there is no such layer, or no attention over patches.
            ConfigError: the model reads texts.
        """
        if not self.reads_images:
            raise ConfigError("attention is over the patches of images, and this model reads texts")
        return image_map(self.predictor, content, "attention", layer=layer).values.tolist()

    def describe(self) -> dict[str, Any]:
        """The response of `/v1/models/NAME`."""
        predictor = self.predictor
        size = predictor.model.config.image_size
        return {
            "name": self.name,
            "task": predictor.task.name,
            "architecture": predictor.source.architecture,
            "inputs": "images" if self.reads_images else "texts",
            "image_size": list(size) if size else None,
            "labels": list(predictor.labels),
        }
