"""The models and images of one explorer, and what was recorded of them."""

import hashlib
import io
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from saccade.analysis.attention_maps import Embedder, to_pixels
from saccade.analysis.image_maps import class_number, map_values
from saccade.data.images import read_scaled
from saccade.data.preprocessing import Preprocessing
from saccade.engine.finite import require_finite
from saccade.engine.predictor import Predictor
from saccade.engine.results import Result
from saccade.engine.task import MasksPatches, RefinesInStages
from saccade.errors import ConfigError, DataError, RecordingError
from saccade.explorer.change import Change
from saccade.explorer.memory import Memory
from saccade.explorer.streams import MEAN, Stream, prefix_names, streams_of
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.recording import record

MAX_PIXELS = 50_000_000  # of an image
MAX_SHOWN = 1024  # pixels of the longer side of a displayed image
LOSSLESS_BELOW = 128  # pixels: a small image is displayed without compression, pixel by pixel
THUMBNAIL = 88  # pixels
MAX_LABELS = 100  # that are typed
MAX_CLASSES = 1000  # that are returned for one image


@dataclass(frozen=True)
class OpenModel:
    """A model by the name under which it was opened.

    Attributes:
        score_labels: for a model of images and texts: images ``[1, C, H, W]`` and K labels -> the probability of each,
            ``[1, K]``.
    """

    name: str
    predictor: Predictor
    score_labels: Callable[[Tensor, Sequence[str]], Tensor] | None = None


@dataclass(frozen=True)
class OpenImage:
    """An image by its name: a path, or the content of an upload."""

    name: str
    source: Path | bytes

    @property
    def nbytes(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else 0


@dataclass(frozen=True)
class Recording:
    """One run of one model on one image.

    Attributes:
        streams: its attention.
        size: (H, W) in pixels of the model's input.
        view: what the model reads of the image: left, top, right, bottom in pixels of the original.
        shown: the part of the image that the model reads, as PNG or WebP.
        result: the prediction as plain values, with the boxes of earlier decoder layers as "stages"; None of a model
            that predicts nothing for an image alone.
        drawn: the prediction drawn over the image, as PNG or WebP, where it is neither classes nor boxes.
        query: the token that the head reads, or "mean".
    """

    streams: tuple[Stream, ...]
    size: tuple[int, int]
    view: tuple[float, float, float, float]
    shown: bytes
    result: dict[str, Any] | None
    drawn: bytes
    query: int | str

    @property
    def nbytes(self) -> int:
        return sum(stream.nbytes for stream in self.streams) + len(self.shown) + len(self.drawn)

    def stream(self, name: str) -> Stream:
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise RecordingError(f"there is no stream {name!r}; there are {', '.join(s.name for s in self.streams)}")

    def describe(self) -> dict[str, Any]:
        """What the page needs to know, as JSON holds it."""
        return {
            "size": list(self.size),
            "view": list(self.view),
            "streams": [stream.describe() for stream in self.streams],
            "query": self.query,
            "result": self.result,
            "drawn": bool(self.drawn),
            "bytes": self.nbytes,
        }


class Session:
    """Models, images and a memory of recordings; one run at a time.

    Args:
        models: at least one, of images.
        images: to start with.
        budget: bytes of recordings and uploads.
    """

    def __init__(self, models: Sequence[OpenModel], images: Sequence[OpenImage], budget: int):
        self.models = {str(number): model for number, model in enumerate(models)}
        self.images = {str(number): image for number, image in enumerate(images)}
        self.uploads: Memory[OpenImage] = Memory(budget // 4)
        self.recordings: Memory[Recording] = Memory(budget - budget // 4)
        self._running = threading.Lock()

    @property
    def budget(self) -> int:
        return self.uploads.budget + self.recordings.budget

    @property
    def nbytes(self) -> int:
        return self.uploads.nbytes + self.recordings.nbytes

    def add_image(self, name: str, content: bytes) -> str:
        """Keep an uploaded image; the same content has the same name in addresses.

        Raises:
            ImageError: the content is no image that can be read.
            RecordingError: it is too large for the memory.
        """
        read_scaled(content, name=name, max_pixels=MAX_PIXELS)
        key = "u" + hashlib.sha256(content).hexdigest()[:12]
        self.uploads.put(key, OpenImage(name, content))
        return key

    def image_names(self) -> list[tuple[str, str]]:
        """(key, name) of the images to start with, and of the uploads that are in memory."""
        uploads = sorted(self.uploads.items(), key=lambda item: item[1].name)
        return [(str(key), image.name) for key, image in [*self.images.items(), *uploads]]

    def image(self, key: str) -> OpenImage:
        image = self.images.get(key) or self.uploads.get(key)
        if image is None:
            raise DataError(f"the image {key!r} is not in memory any more: open it again")
        return image

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
        score_labels, predictor = self.model(model).score_labels, self.model(model).predictor
        if score_labels is None:
            raise ConfigError(f"{self.model(model).name} reads no texts: its classes are fixed")
        if not 0 < len(labels) <= MAX_LABELS:
            raise ConfigError(f"give 1 to {MAX_LABELS} labels, not {len(labels)}")
        inputs, _, _ = read_inputs(predictor, self.image(image))
        layout = predictor.model.token_layout((inputs.shape[1], inputs.shape[2]))
        with self._running, change.applied(predictor.model, layout) if change else nullcontext():
            scores = score_labels(inputs[None], labels)[0].tolist()
        ranked = sorted(zip(labels, scores), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in ranked]

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
        """The recorded run of a model on an image: from memory, or run now.

        Raises:
            DataError: no such model or image.
            ImageError: the image cannot be read.
            RecordingError: nothing to record, or too large.
        """
        key = (model, image, change)
        recording = self.recordings.get(key)
        if recording is None:
            with self._running:
                recording = self.recordings.get(key)  # of whoever ran it while this one waited
                if recording is None:
                    recording = record_image(
                        self.model(model).predictor, self.image(image), change, self.recordings.budget
                    )
                    self.recordings.put(key, recording)
        return recording


@torch.no_grad()
def record_image(predictor: Predictor, image: OpenImage, change: Change, budget: int) -> Recording:
    """Run a model on one image and record all attention over it."""
    preprocess = predictor.preprocess
    inputs, picture, original = read_inputs(predictor, image)
    # The weights come in float32 and are kept in float16.
    layout = predictor.model.token_layout((inputs.shape[1], inputs.shape[2]))
    masked = None
    if isinstance(predictor.task, MasksPatches) and change.hide and change.fill == "drop" and layout is not None:
        masked = change.hidden_map(layout)
        change = replace(change, hide=())
    changed = change.applied(predictor.model, layout) if change else nullcontext()
    with changed, record(predictor.model, tokens=False, budget=2 * budget) as trace:
        result, earlier = _predict(predictor, inputs, original, image.name, masked)
    streams = streams_of(
        trace, predictor.model, layout, prefix_names(predictor.model.config, layout.num_prefix if layout else 0)
    )
    pixels = to_pixels(preprocess.denormalize(inputs))
    values = {} if result is None else result.to_dict()
    if earlier and "boxes" in values:
        values["stages"] = [stage.to_dict()["boxes"] for stage in earlier]
    drawn = b""
    if result is not None and not {"top", "boxes"} & values.keys():
        whole = to_pixels(picture) if isinstance(picture, Tensor) else np.asarray(picture.convert("RGB"))
        drawn = encode(result.draw(whole))
    reads_class_token = streams[0].prefix and getattr(predictor.model.config, "pooling", "cls").startswith("cls")
    return Recording(
        streams=tuple(streams),
        size=(inputs.shape[1], inputs.shape[2]),
        view=preprocess.box_of(original),
        shown=encode(shown_pixels(preprocess, picture, pixels)),
        result=values or None,
        drawn=drawn,
        query=0 if reads_class_token or not streams[0].over_grid else MEAN,
    )


def read_inputs(predictor: Predictor, image: OpenImage) -> tuple[Tensor, Image.Image | Tensor, tuple[int, int]]:
    """The model's input ``[C, H, W]``, the whole image, and the (H, W) of the original.

    Raises:
        ImageError: the image cannot be read.
    """
    channels = predictor.preprocess.channels
    picture, original = read_scaled(image.source, channels=channels, name=image.name, max_pixels=MAX_PIXELS)
    return predictor.preprocess(picture), picture, original


def _predict(
    predictor: Predictor, inputs: Tensor, original: tuple[int, int], name: str, masked: Tensor | None
) -> tuple[Result | None, list[Result]]:
    """The prediction for one prepared image, and those of earlier stages; a model that has none for an image alone
    computes its features.

    Args:
        predictor: the model.
        inputs: ``[C, H, W]``.
        original: (H, W) of the image.
        name: of the image.
        masked: ``[N]`` boolean, the patches to mask, of a task that predicts masked patches.
    """
    try:
        every_class = predictor.with_options({"top": min(len(predictor.labels), MAX_CLASSES)})
    except ConfigError:  # not a list of classes
        every_class = predictor
    batch = every_class.task.input_batch([inputs], [original], [name])
    if masked is not None and isinstance(every_class.task, MasksPatches):
        batch = every_class.task.with_masked(batch, masked[None])
    batch, task = batch.to(predictor.device), every_class.task
    with matmul_precision(predictor.matmul_precision), evaluation_mode(predictor.model):
        try:
            outputs = task.eval_step(predictor.model, batch)
            require_finite(outputs, batch.names)
            result = task.decode(outputs, batch)[0]
        except ConfigError:
            Embedder(predictor.model).eval()(batch.inputs)
            return None, []
        stages = task.earlier_stages(outputs) if isinstance(task, RefinesInStages) else ()
        return result, [task.decode(stage, batch)[0] for stage in stages]


def shown_pixels(preprocess: Preprocessing, picture: Image.Image | Tensor, pixels: np.ndarray) -> np.ndarray:
    """The part of an image that the model reads, sharper than its input where the image is larger: ``[H, W, 3]``.

    Args:
        preprocess: of the model.
        picture: the whole image.
        pixels: the model's input ``[h, w, 3]`` uint8.
    """
    height, width = pixels.shape[:2]
    if isinstance(picture, Tensor) or max(height, width) <= LOSSLESS_BELOW:
        return pixels
    left, top, right, bottom = preprocess.box_of((picture.height, picture.width))
    scale = min(MAX_SHOWN / max(height, width), (right - left) / width)
    if scale <= 1 or min(left, top) < 0:
        return pixels
    size = round(width * scale), round(height * scale)
    sharp = picture.resize(size, Image.Resampling.BICUBIC, (left, top, right, bottom), reducing_gap=3.0)
    return np.asarray(sharp.convert("RGB"))


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


def encode(pixels: np.ndarray) -> bytes:
    """``[H, W, 3]`` uint8 -> PNG if it is small, WebP otherwise."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if max(image.size) > MAX_SHOWN:
        image.thumbnail((MAX_SHOWN, MAX_SHOWN), reducing_gap=3.0)
    if max(image.size) <= LOSSLESS_BELOW:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "WEBP", quality=88)
    return buffer.getvalue()
