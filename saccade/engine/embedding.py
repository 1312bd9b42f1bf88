"""Vectors of images: a model without its head, as a stream of typed results."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from saccade.engine.finite import require_finite
from saccade.errors import ConfigError, ImageError
from saccade.models.model import Model
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode

if TYPE_CHECKING:
    from saccade.data.images import ImageLike
    from saccade.engine.predictor import Predictor


@dataclass(frozen=True)
class Embedding:
    """The vector of one image.

    Attributes:
        name: path of the image, or its index in the list.
        vector: ``[D]`` float32.
    """

    name: str
    vector: np.ndarray

    @property
    def columns(self) -> tuple[str, ...]:
        """Of :meth:`rows`: the image, and a column for each number."""
        return ("image", *(f"x{index}" for index in range(len(self.vector))))

    def to_dict(self) -> dict[str, Any]:
        return {"image": self.name, "embedding": self.vector.tolist()}

    def records(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, *self.vector.tolist())]


def stream_embeddings(
    predictor: "Predictor",
    inputs: "Iterable[ImageLike]",
    *,
    batch_size: int = 32,
    normalize: bool = False,
    on_error: Callable[[str, ImageError], None] | None = None,
) -> Iterator[Embedding]:
    """The vectors of many images in order, with one batch in memory at a time.

    A vector is what the head of the model reads; of a CLIP, the projection that is compared with texts. Images whose
    sizes differ after preprocessing, as those of a DETR, are not padded: each has the vector that it has alone.

    Args:
        predictor: the model, which prepares the images.
        inputs: images, as for :meth:`Predictor.stream`.
        batch_size: images at once.
        normalize: divide each vector by its length.
        on_error: as for :meth:`Predictor.stream`.

    Raises:
        ConfigError: the model has no vector for an image.
        ImageError: an image cannot be read, and there is no `on_error`.
        MeasurementError: a vector is NaN or infinite.
    """
    for prepared, _, names in predictor.read_batches(inputs, batch_size, on_error):
        for _, group in groupby(zip(prepared, names), key=lambda one: one[0].shape):
            images, group_names = zip(*group)
            stack = torch.stack(images).to(predictor.device)
            with torch.inference_mode(), matmul_precision(predictor.matmul_precision), evaluation_mode(predictor.model):
                vectors = predictor.model.embed(stack).float()
            require_finite(vectors, group_names)
            vectors = F.normalize(vectors, dim=-1) if normalize else vectors
            yield from map(Embedding, group_names, vectors.cpu().numpy())


def require_embedding(predictor: "Predictor") -> None:
    """Raise ConfigError unless the model has a vector for an image."""
    if not predictor.reads_images:
        raise ConfigError(f"this {predictor.source.architecture} reads texts, and only images are embedded")
    if type(predictor.model).embed is Model.embed:
        raise ConfigError(f"this {predictor.source.architecture} has no features before a head: embed needs a backbone")
