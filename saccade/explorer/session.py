"""The models and inputs of one explorer, and their recordings."""

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import ImageOps
from torch import Tensor

from saccade.analysis.attention_maps import to_pixels
from saccade.analysis.image_maps import class_number, map_values
from saccade.data.images import read_scaled
from saccade.engine.attention_groups import PairRelevance, ReadsTexts
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError, DataError
from saccade.explorer.change import Change
from saccade.explorer.memory import Memory
from saccade.explorer.recording import (
    MAX_PIXELS,
    OpenImage,
    OpenText,
    Recording,
    encode,
    read_inputs,
    record_image,
    record_reading,
    record_text,
)

THUMBNAIL = 88  # pixels
MAX_LABELS = 100  # that are typed
MAX_TEXT = 20_000  # characters


@dataclass(frozen=True)
class OpenModel:
    """A model by the name under which it was opened.

    Attributes:
        texts: text reader of an image-text model.
    """

    name: str
    predictor: Predictor
    texts: ReadsTexts | None = None


class Session:
    """Models, inputs and a memory of recordings; one run at a time.

    Args:
        models: at least one.
        inputs: images, and texts for models that read texts, to start with.
        budget: bytes of recordings and uploads.
        data: a data set of the models' task to measure on, as :func:`saccade.analysis.inputs.open_images` takes it.
    """

    def __init__(
        self,
        models: Sequence[OpenModel],
        inputs: Sequence[OpenImage | OpenText],
        budget: int,
        *,
        data: str | None = None,
    ):
        self.data = data
        self.models = {str(number): model for number, model in enumerate(models)}
        self.inputs = {str(number): one for number, one in enumerate(inputs)}
        self.uploads: Memory[OpenImage | OpenText] = Memory(budget // 4)
        self.recordings: Memory[Recording] = Memory(budget - budget // 4)
        self._running = threading.Lock()

    @property
    def budget(self) -> int:
        return self.uploads.budget + self.recordings.budget

    @property
    def nbytes(self) -> int:
        return self.uploads.nbytes + self.recordings.nbytes

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context manager in which no other run happens."""
        with self._running:
            yield

    def give_way(self) -> None:
        """Within :meth:`running`: let a waiting run go first."""
        self._running.release()
        time.sleep(0.002)  # a lock is not fair: without a pause the one that waits may not get it
        self._running.acquire()

    def add_image(self, name: str, content: bytes) -> str:
        """Store an uploaded image; the same content has the same name in URLs.

        Raises:
            ImageError: the content is not a readable image.
            RecordingError: it is too large for the memory.
        """
        read_scaled(content, name=name, max_pixels=MAX_PIXELS)
        key = "u" + hashlib.sha256(content).hexdigest()[:12]
        self.uploads.put(key, OpenImage(name, content))
        return key

    def add_text(self, text: str) -> str:
        """Store a typed text; the same text has the same name in URLs.

        Raises:
            DataError: it is empty, or longer than 20,000 characters.
        """
        if not text.strip():
            raise DataError("the text is empty")
        if len(text) > MAX_TEXT:
            raise DataError(f"the text has {len(text)} characters: give at most {MAX_TEXT}")
        same = next((key for key, one in self.inputs.items() if one == OpenText(text)), None)
        if same is not None:
            return same
        key = "t" + hashlib.sha256(text.encode()).hexdigest()[:12]
        self.uploads.put(key, OpenText(text))
        return key

    def describe_inputs(self) -> list[dict[str, Any]]:
        """The inputs to start with, and the uploads that are in memory, as JSON holds them."""
        uploads = sorted(self.uploads.items(), key=lambda item: item[1].name)
        return [describe_input(str(key), one) for key, one in [*self.inputs.items(), *uploads]]

    @property
    def images(self) -> dict[str, OpenImage]:
        """The images to start with."""
        return {key: one for key, one in self.inputs.items() if isinstance(one, OpenImage)}

    def all_images(self) -> list[OpenImage]:
        """The images to start with, and the uploads that are in memory."""
        uploads = [one for _, one in self.uploads.items() if isinstance(one, OpenImage)]
        return [*self.images.values(), *uploads]

    def input(self, key: str) -> OpenImage | OpenText:
        one = self.inputs.get(key) or self.uploads.get(key)
        if one is None:
            raise DataError(f"the image {key!r} is not in memory any more: open it again")
        return one

    def image(self, key: str) -> OpenImage:
        one = self.input(key)
        if not isinstance(one, OpenImage):
            raise ConfigError(f"{one.name!r} is a text, and this needs an image")
        return one

    def model(self, key: str) -> OpenModel:
        if key not in self.models:
            raise DataError(f"there is no model {key!r}; they are 0 to {len(self.models) - 1}")
        return self.models[key]

    @torch.no_grad()
    def score_labels(self, model: str, image: str, labels: Sequence[str], change: Change) -> list[dict[str, Any]]:
        """The probability of each label for an image, the most probable first, under a change.

        Raises:
            ConfigError: the model reads no texts, or the labels are too many.
            DataError: no such model or image.
        """
        reader, predictor = self.reader(model), self.model(model).predictor
        if not 0 < len(labels) <= MAX_LABELS:
            raise ConfigError(f"give 1 to {MAX_LABELS} labels, not {len(labels)}")
        inputs, _, _ = read_inputs(predictor, self.image(image))
        layout = predictor.model.token_layout((inputs.shape[1], inputs.shape[2]))
        with self._running, change.applied(predictor.model, layout) if change else nullcontext():
            scores = reader.scores(inputs[None], labels)[0].tolist()
        ranked = sorted(zip(labels, scores), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in ranked]

    def reader(self, model: str) -> ReadsTexts:
        """The text reader of an image-text model.

        Raises:
            ConfigError: it is none.
            DataError: no such model.
        """
        reader = self.model(model).texts
        if reader is None:
            raise ConfigError(f"{self.model(model).name} reads no texts: its classes are fixed")
        return reader

    @torch.no_grad()
    def pair(self, model: str, image: str, label: str, change: Change) -> PairRelevance:
        """Relevance of an image and a label for their similarity, under a change.

        Raises:
            ConfigError: the model reads no texts.
            DataError: no such model or image.
            RecordingError: the model has no relevance of patches.
        """
        reader, predictor = self.reader(model), self.model(model).predictor
        inputs, _, _ = read_inputs(predictor, self.image(image))
        layout = predictor.model.token_layout((inputs.shape[1], inputs.shape[2]))
        with self._running, change.applied(predictor.model, layout) if change else nullcontext():
            return reader.relevance(inputs[None], label, self.recordings.budget)

    def relevance(self, model: str, image: str, label: str, change: Change) -> Tensor:
        """The relevance of every patch for a class, ``[N]`` float32, under a change: see
        :mod:`saccade.analysis.relevance`.

        Raises:
            ConfigError: no such class.
            DataError: no such model or image.
            RecordingError: the model has no relevance of patches.
        """
        predictor = self.model(model).predictor
        number = class_number(predictor, label)
        inputs, _, _ = read_inputs(predictor, self.image(image))
        layout = predictor.model.token_layout((inputs.shape[1], inputs.shape[2]))
        with self._running, change.applied(predictor.model, layout) if change else nullcontext():
            values, _ = map_values(predictor, inputs[None], "relevance", number, budget=self.recordings.budget)
        return values.float().flatten().cpu()

    def recording(self, model: str, image: str, change: Change) -> Recording:
        """The recorded run of a model on an input: from memory, or run now.

        Raises:
            ConfigError: a text for a model of images, or an image for one of texts.
            DataError: no such model or input.
            ImageError: the image cannot be read.
            RecordingError: nothing to record, or too large.
        """
        key = (model, image, change)
        recording = self.recordings.get(key)
        if recording is None:
            with self._running:
                recording = self.recordings.get(key)  # of whoever ran it while this one waited
                if recording is None:
                    recording = self._record(self.model(model), self.input(image), change)
                    self.recordings.put(key, recording)
        return recording

    def _record(self, model: OpenModel, one: OpenImage | OpenText, change: Change) -> Recording:
        predictor, budget = model.predictor, self.recordings.budget
        if isinstance(one, OpenImage):
            if not predictor.reads_images:
                raise ConfigError(f"{model.name} reads texts, not images")
            return record_image(predictor, one, change, budget)
        if not predictor.reads_images:
            return record_text(predictor, one, change, budget)
        if model.texts is None:
            raise ConfigError(f"{model.name} reads images, not texts")
        return record_reading(predictor, model.texts, one, change, budget)

    def can_read(self, model: str, key: str) -> bool:
        """Whether a model reads an input: an image or a text."""
        reader, one = self.model(model), self.input(key)
        if isinstance(one, OpenImage):
            return reader.predictor.reads_images
        return reader.texts is not None or not reader.predictor.reads_images


def describe_input(key: str, one: OpenImage | OpenText) -> dict[str, Any]:
    """An input as JSON holds it."""
    if isinstance(one, OpenText):
        return {"key": key, "name": one.name, "kind": "text"}
    return {"key": key, "name": one.name, "kind": "image", "model": one.model}


def thumbnail(image: OpenImage) -> bytes:
    """A small square of the middle of an image, as PNG or WebP.

    Raises:
        ImageError: the image cannot be read.
    """
    picture, _ = read_scaled(image.source, name=image.name, max_pixels=MAX_PIXELS)
    if isinstance(picture, Tensor):
        return encode(to_pixels(picture))
    square = ImageOps.fit(picture.convert("RGB"), (THUMBNAIL, THUMBNAIL)) if min(picture.size) > THUMBNAIL else picture
    return encode(np.asarray(square.convert("RGB")))
