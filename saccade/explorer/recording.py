"""One run of one model on one image or one text, with all of its attention."""

import io
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saccade.analysis.attention_maps import Embedder, to_pixels
from saccade.data.images import read_scaled
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.attention_groups import AttentionGroup, MasksTokens, NamesAttention, PredictsInSteps, ReadsTexts
from saccade.engine.finite import require_finite
from saccade.engine.pixel_map import DrawsPixelMap
from saccade.engine.predictor import Predictor
from saccade.engine.results import Result
from saccade.engine.task import MasksPatches, RefinesInStages, Task
from saccade.errors import ConfigError, RecordingError
from saccade.explorer.change import Change
from saccade.explorer.streams import MEAN, Stream, groups_by_shape, prefix_names, streams_of
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.recording import record
from saccade.nn.tokens import TokenLayout
from saccade.nn.trace import Trace

MAX_PIXELS = 50_000_000  # of an image
MAX_SHOWN = 1024  # pixels of the longer side of a displayed image
LOSSLESS_BELOW = 128  # pixels: a small image is displayed without compression, pixel by pixel
MAX_CLASSES = 1000  # that are returned for one image


@dataclass(frozen=True)
class OpenImage:
    """An image by its name: a path, or the content of an upload.

    Attributes:
        model: key of the model that the page opens it with; "" for the current one.
    """

    name: str
    source: Path | bytes
    model: str = ""

    @property
    def nbytes(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else 0


@dataclass(frozen=True)
class OpenText:
    """A text, which is its own name."""

    name: str

    @property
    def nbytes(self) -> int:
        return len(self.name.encode())


@dataclass(frozen=True)
class Recording:
    """One run of one model on one image or one text.

    Attributes:
        streams: its attention, the initially displayed one first.
        size: (H, W) in pixels of the model's input; (0, 0) of a text.
        view: what the model reads of the image: left, top, right, bottom in pixels of the original.
        shown: the part of the image that the model reads, as PNG or WebP; empty of a text.
        result: the prediction as plain values, with the boxes of earlier decoder layers as "stages"; None of a model
            that predicts nothing for this input alone.
        drawn: the prediction drawn over the image, as PNG or WebP, where it is neither classes, boxes nor texts.
        query: the token that the head reads, or "mean".
        pixel_map: what the colours of `drawn` mean, of a prediction for every pixel.
        values: of such a prediction, ``[h, w]`` float32; None of others.
    """

    streams: tuple[Stream, ...]
    size: tuple[int, int]
    view: tuple[float, float, float, float]
    shown: bytes
    result: dict[str, Any] | None
    drawn: bytes
    query: int | str
    pixel_map: dict[str, Any] | None = None
    values: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        values = 0 if self.values is None else self.values.nbytes
        return sum(stream.nbytes for stream in self.streams) + len(self.shown) + len(self.drawn) + values

    def stream(self, name: str) -> Stream:
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise RecordingError(f"there is no stream {name!r}; there are {', '.join(s.name for s in self.streams)}")

    def describe(self) -> dict[str, Any]:
        """The recording as JSON values for the page."""
        return {
            "size": list(self.size),
            "view": list(self.view),
            "streams": [stream.describe() for stream in self.streams],
            "query": self.query,
            "result": self.result,
            "drawn": bool(self.drawn),
            "pixelMap": self.pixel_map,
            "bytes": self.nbytes,
        }


@torch.no_grad()
def record_image(predictor: Predictor, image: OpenImage, change: Change, budget: int) -> Recording:
    """Run a model on one image and record all attention over it."""
    preprocess = predictor.preprocess
    inputs, picture, original = read_inputs(predictor, image)
    layout = predictor.model.token_layout((inputs.shape[1], inputs.shape[2]))
    task = task_of_all_classes(predictor)
    batch = task.input_batch([inputs], [original], [image.name])
    if isinstance(task, MasksPatches) and change.hide and change.fill == "drop" and layout is not None:
        batch = task.with_masked(batch, change.hidden_map(layout)[None])
        change = replace(change, hide=())
    run = run_batch(predictor, task, batch, change, layout, budget)
    values = {} if run.result is None else run.result.to_dict()
    if run.earlier and "boxes" in values:
        values["stages"] = [stage.to_dict()["boxes"] for stage in run.earlier]
    drawn, pixel_map = b"", None
    if run.result is not None and not {"top", "boxes", "text"} & values.keys():
        whole = to_pixels(picture) if isinstance(picture, Tensor) else np.asarray(picture.convert("RGB"))
        if isinstance(run.result, DrawsPixelMap):
            pixel_map = run.result.pixel_map(whole)
            drawn = encode(pixel_map.picture)
        else:
            drawn = encode(run.result.draw(whole))
    read = next((stream for stream in run.streams if stream.over_grid), run.streams[0])
    reads_class_token = read.prefix and getattr(predictor.model.config, "pooling", "cls").startswith("cls")
    pixels = to_pixels(preprocess.denormalize(inputs))
    return Recording(
        streams=tuple(run.streams),
        size=(inputs.shape[1], inputs.shape[2]),
        view=preprocess.box_of(original),
        shown=encode(shown_pixels(preprocess, picture, pixels)),
        result=values or None,
        drawn=drawn,
        query=0 if reads_class_token or not read.over_grid else MEAN,
        pixel_map=None if pixel_map is None else pixel_map.describe(),
        values=None if pixel_map is None or pixel_map.values is None else pixel_map.sampled(),
    )


@torch.no_grad()
def record_text(predictor: Predictor, text: OpenText, change: Change, budget: int) -> Recording:
    """Run a model of texts on one text and record all attention over it.

    Raises:
        ConfigError: the text is empty, or too long for the model.
    """
    task = predictor.task
    if isinstance(task, MasksTokens):
        batch = task.text_batch([text.name], [text.name])
        if change.hide and change.fill == "drop":
            batch = task.with_masked_tokens(batch, hidden_tokens(change, batch.inputs.shape[1])[None])
            change = replace(change, hide=())
    else:
        batch = task.input_batch([text.name], [()], [text.name])  # type: ignore[list-item]
    run = run_batch(predictor, task, batch, change, None, budget)
    result = None if run.result is None else run.result.to_dict()
    return Recording(tuple(run.streams), (0, 0), (0.0, 0.0, 0.0, 0.0), b"", result, b"", 0)


@torch.no_grad()
def record_reading(predictor: Predictor, reader: ReadsTexts, text: OpenText, change: Change, budget: int) -> Recording:
    """Run the text encoder of a model of images and texts on one text.

    Raises:
        ConfigError: the change hides patches, which a text does not have.
    """
    if change.hide:
        raise ConfigError("this change hides patches of an image, and a text has none")
    with change.applied(predictor.model, None), record(predictor.model, tokens=False, budget=2 * budget) as trace:
        groups = reader.read(text.name)
    streams = streams_of(trace, predictor.model, groups)
    return Recording(tuple(streams), (0, 0), (0.0, 0.0, 0.0, 0.0), b"", None, b"", streams[0].first)


def hidden_tokens(change: Change, count: int) -> Tensor:
    """Which of `count` tokens of a text are hidden, ``[L]`` boolean.

    Raises:
        ConfigError: a token behind the last.
    """
    return change.hidden_map(TokenLayout(0, (1, count), (1, 1)))


@dataclass(frozen=True)
class Run:
    """What :func:`run_batch` returns: streams of attention, the prediction, and those of earlier stages."""

    streams: list[Stream]
    result: Result | None
    earlier: list[Result]


def run_batch(
    predictor: Predictor, task: Task, batch: Batch, change: Change, layout: TokenLayout | None, budget: int
) -> Run:
    """Run a model on a batch of one input under a change, and record its attention.

    Args:
        predictor: the model.
        task: task that decodes its outputs.
        batch: batch of :meth:`Task.input_batch`.
        change: change of the run.
        layout: of the model's tokens over the image; None of a text.
        budget: bytes of attention in float16.
    """
    model, batch = predictor.model, batch.to(predictor.device)
    groups: Sequence[AttentionGroup] = ()
    result, earlier, outputs = None, [], None
    changed = change.applied(model, layout) if change else nullcontext()
    with changed, matmul_precision(predictor.matmul_precision), evaluation_mode(model):
        # The weights come in float32 and are kept in float16.
        if isinstance(task, PredictsInSteps):
            outputs = task.eval_step(model, batch)
        with record(model, tokens=False, budget=2 * budget) as trace:
            try:
                if isinstance(task, PredictsInSteps):
                    task.whole_pass(model, outputs, batch)
                else:
                    outputs = task.eval_step(model, batch)
                require_finite(outputs, batch.names)
                result = task.decode(outputs, batch)[0]
            except ConfigError:
                if layout is None:
                    raise
                Embedder(model).eval()(batch.inputs)
    if result is not None:
        stages = task.earlier_stages(outputs) if isinstance(task, RefinesInStages) else ()
        earlier = [task.decode(stage, batch)[0] for stage in stages]
        groups = task.attention_groups(model, outputs, batch) if isinstance(task, NamesAttention) else ()
    return Run(streams_of(trace, model, groups or named_by_shape(trace, predictor, layout)), result, earlier)


def named_by_shape(trace: Trace, predictor: Predictor, layout: TokenLayout | None) -> list[AttentionGroup]:
    names = prefix_names(predictor.model.config, layout.num_prefix if layout else 0)
    return groups_by_shape(trace, layout, names)


def task_of_all_classes(predictor: Predictor) -> Task:
    """The task of a predictor, with every class in its result where that is a list of classes."""
    try:
        return predictor.with_options({"top": min(len(predictor.labels), MAX_CLASSES)}).task
    except ConfigError:
        return predictor.task


def read_inputs(predictor: Predictor, image: OpenImage) -> tuple[Tensor, Image.Image | Tensor, tuple[int, int]]:
    """The model's input ``[C, H, W]``, the whole image, and the (H, W) of the original.

    Raises:
        ImageError: the image cannot be read.
    """
    channels = predictor.preprocess.channels
    picture, original = read_scaled(image.source, channels=channels, name=image.name, max_pixels=MAX_PIXELS)
    return predictor.preprocess(picture), picture, original


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
