"""A trained model as a function: paths, pictures, arrays, tensors or texts in, typed results out.

predictor = saccade.load("runs/digits")
predictor.predict("cat.jpg").label
"""

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saccade.checkpoints.directory import LoadedModel
from saccade.data.images import MAX_PIXELS, BinaryFile, ImageLike, read_image, read_scaled, rgb_pixels
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.embedding import stream_embeddings
from saccade.engine.finite import require_finite
from saccade.engine.notebook import NotebookPicture
from saccade.engine.results import Result
from saccade.engine.room import TaskRoom
from saccade.engine.task import Task
from saccade.errors import ConfigError, ImageError
from saccade.models.model import Model
from saccade.nn.matmul_precision import MatmulPrecision, choose_matmul_precision, matmul_precision
from saccade.nn.mode import evaluation_mode

log = logging.getLogger("saccade")
SHOWN = 4  # names of inputs in a message


class Predictor:
    """A model with its preprocessing, labels and task.

    Args:
        source: the loaded model with its architecture, provenance and the report of what was loaded.
        room: room of the model's task.
        device: where the model runs; ``"auto"`` is a GPU if there is one.
        options: options of the task's predictions, such as ``{"threshold": 0.3}``.
        max_pixels: largest number of pixels of an image; a JPEG of up to four times as many is decoded at half its
            resolution.

    Attributes:
        model: the network. It runs in evaluation mode here, and its own mode is restored.
        labels: K class names, in the order of the logits; () if there are none.
        task: decodes outputs and measures them; ``task.name`` is one of `saccade.tasks.table.TASKS`.
    """

    def __init__(
        self,
        source: LoadedModel,
        room: TaskRoom,
        *,
        device: torch.device | str = "cpu",
        options: Mapping[str, Any] | None = None,
        max_pixels: int = MAX_PIXELS,
    ):
        self.source, self.room, self.max_pixels = source, room, max_pixels
        self.device = choose_device(device)
        self.model: Model = source.model.eval().to(self.device)
        self.labels = source.labels
        self.task: Task = room.task(source, options)
        self.matmul_precision: MatmulPrecision = self._matmul_precision()

    def __repr__(self) -> str:
        labels = f", {len(self.labels)} labels" if self.labels else ""
        return f"Predictor({self.source.architecture}, {self.task.name}{labels}, on {self.device})"

    def to(self, device: torch.device | str) -> "Predictor":
        """Move the model to a device, in place.

        Raises:
            ConfigError: there is no such device.
        """
        self.device = choose_device(device)
        self.model.to(self.device)
        self.matmul_precision = self._matmul_precision()
        return self

    def _matmul_precision(self) -> MatmulPrecision:
        choice = choose_matmul_precision(self.device, self.model)
        log.info("%s", choice.reason)
        return choice.precision

    def digest(self) -> str:
        """64 hexadecimal digits that change with the weights, the architecture and the preprocessing."""
        digest = hashlib.sha256()
        preprocessing = self.source.preprocessing
        described = [self.source.architecture, self.model.config.to_dict(), self.labels]
        described.append(None if preprocessing is None else preprocessing.to_dict())
        digest.update(json.dumps(described, sort_keys=True, default=list).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().float().numpy()).data)
        return digest.hexdigest()

    def with_options(self, options: Mapping[str, Any]) -> "Predictor":
        """A predictor with other options of the task's predictions; the model is shared.

        Raises:
            ConfigError: the task has no such option.
        """
        other = copy.copy(self)
        other.task = self.room.task(self.source, options)
        return other

    @property
    def reads_images(self) -> bool:
        """Whether inputs are images; texts otherwise."""
        return self.source.preprocessing is not None

    @property
    def preprocess(self) -> Preprocessing:
        """The preprocessing with which the model was trained: image -> tensor ``[C, H, W]``.

        Raises:
            ConfigError: the model reads texts.
        """
        if self.source.preprocessing is None:
            raise ConfigError(f"this {self.source.architecture} reads texts, not images")
        return self.source.preprocessing

    @preprocess.setter
    def preprocess(self, preprocessing: Preprocessing) -> None:
        self.source = replace(self.source, preprocessing=preprocessing)

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return self.preprocess.channels

    @overload
    def predict(self, inputs: ImageLike, *, batch_size: int = 32) -> Any: ...
    @overload
    def predict(self, inputs: Iterable[ImageLike], *, batch_size: int = 32) -> list[Any]: ...
    def predict(self, inputs, *, batch_size=32):
        """Predict images, or texts with a text model.

        Args:
            inputs: a path, the bytes of an image file, an open file, a PIL image, an array ``[H, W]`` or ``[H, W, 3]``
                uint8, or a tensor ``[C, H, W]`` (uint8, or float in [0, 1]); or a text; or a list, a generator or
                another iterable of them, or a stack ``[B, ...]``.
            batch_size: inputs per batch.

        Returns:
            one result of the model's task for a single input, a list of results otherwise.

        Raises:
            ImageError: an image cannot be read; the message names it.
            ConfigError: the model has no prediction for a single input; the message suggests an alternative.
        """
        if is_single(inputs):
            result = next(self.stream([inputs], batch_size=1))
            in_memory = isinstance(inputs, Image.Image | np.ndarray | Tensor)
            if not (in_memory and isinstance(result, NotebookPicture)):
                return result
            return result.over(lambda: rgb_pixels(read_image(inputs)))
        return list(self.stream(inputs, batch_size=batch_size))

    __call__ = predict

    def stream(
        self,
        inputs: Iterable[ImageLike],
        *,
        batch_size: int = 32,
        on_error: Callable[[str, ImageError], None] | None = None,
    ) -> Iterator[Result]:
        """Yield the results of many inputs, with one batch in memory at a time; an iterator is read lazily.

        An image that cannot be read ends the stream, unless `on_error` is given: it is then called with the image's
        name and the error, and the stream continues.
        """
        for prepared, sizes, names in self.read_batches(inputs, batch_size, on_error):
            yield from self.decode(self.task.input_batch(prepared, sizes, names))

    def read_batches(
        self, inputs: Iterable[ImageLike], batch_size: int, on_error: Callable[[str, ImageError], None] | None = None
    ) -> Iterator[tuple[list[Any], list[tuple[int, int]], list[str]]]:
        """Batches of prepared inputs with their original sizes (H, W) and names; arguments as for :meth:`stream`."""
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
        if isinstance(inputs, np.ndarray | Tensor) and inputs.ndim != 4:
            raise ConfigError(f"a stack of images has the shape [B, C, H, W] or [B, H, W, C], not {list(inputs.shape)}")
        numbered = enumerate(inputs)
        while part := list(islice(numbered, batch_size)):
            names, sizes, prepared = [], [], []
            for index, one in part:
                try:
                    value, size = self.read(one)
                except ImageError as error:
                    if on_error is None:
                        raise
                    on_error(name_of(one, index), error)
                else:
                    prepared.append(value)
                    sizes.append(size)
                    names.append(name_of(one, index))
            if prepared:
                yield prepared, sizes, names

    @overload
    def embed(self, inputs: ImageLike, *, batch_size: int = 32, normalize: bool = False) -> np.ndarray: ...
    @overload
    def embed(self, inputs: Iterable[ImageLike], *, batch_size: int = 32, normalize: bool = False) -> np.ndarray: ...
    def embed(self, inputs, *, batch_size=32, normalize=False):
        """The vector of an image ``[D]``, or those of several ``[N, D]``, float32; arguments as for :meth:`predict` and
        :func:`~saccade.engine.embedding.stream_embeddings`."""
        if is_single(inputs):
            return next(stream_embeddings(self, [inputs], batch_size=1, normalize=normalize)).vector
        return np.stack(
            [one.vector for one in stream_embeddings(self, inputs, batch_size=batch_size, normalize=normalize)]
        )

    def read(self, one: ImageLike) -> tuple[Any, tuple[int, int]]:
        """One input -> the arguments of :meth:`Task.input_batch`: a prepared image ``[C, h, w]`` and its original size
        (H, W), or a text and ()."""
        if not self.reads_images:
            if not isinstance(one, str):
                raise ConfigError(f"this {self.source.architecture} reads texts, not {type(one).__name__}")
            return one, ()  # type: ignore[return-value]
        picture, size = read_scaled(one, channels=self.preprocess.channels, max_pixels=self.max_pixels)
        return self.preprocess(picture), size

    @torch.inference_mode()
    def decode(self, batch: Batch) -> Sequence[Result]:
        """A batch of :meth:`Task.input_batch` -> one result per input.

        Raises:
            MeasurementError: outputs are NaN or infinite; the message has the inputs.
            ConfigError: the prepared inputs do not fit the model, such as a size that is not a multiple of its patch
                size.
        """
        batch = batch.to(self.device)
        with matmul_precision(self.matmul_precision), evaluation_mode(self.model):
            try:
                outputs = self.task.eval_step(self.model, batch)
            except ValueError as error:
                names = ", ".join(batch.names[:SHOWN])
                raise ConfigError(f"the model cannot read what its preprocessing makes of {names}: {error}") from None
            require_finite(outputs, batch.names)
            return self.task.decode(outputs, batch)

    def prepare(self, image: ImageLike) -> Tensor:
        """One image -> the model's input ``[C, H, W]``, normalised."""
        return self.read(image)[0]

    @torch.inference_mode()
    def run(self, inputs: Tensor) -> Tensor:
        """The model's input ``[B, C, H, W]`` -> raw outputs ``[B, K]``, on the CPU.

        Raises:
            ConfigError: the input is not such a batch.
        """
        channels = self.model.config.in_channels
        if self.reads_images and (inputs.ndim != 4 or inputs.shape[1] != channels):
            raise ConfigError(
                f"the model's input is a batch [B, {channels}, H, W], not {list(inputs.shape)}"
                + ("; add the batch dimension with images[None]" if inputs.ndim == 3 else "")
            )
        with matmul_precision(self.matmul_precision), evaluation_mode(self.model):
            return self.model(inputs.to(self.device)).float().cpu()


def choose_device(device: torch.device | str) -> torch.device:
    """A device by name; ``"auto"`` is a GPU if there is one.

    Raises:
        ConfigError: there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"{device!r} is no device: use auto, cpu, cuda, cuda:1 or mps") from None
    if place.type == "meta":
        raise ConfigError("device meta: its tensors have no numbers; use cpu or auto")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device}: PyTorch sees {torch.cuda.device_count()} GPUs; use cpu or auto, or run `saccade doctor`"
        )
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device mps: PyTorch has no Metal device here; use cpu or auto")
    return place


def is_single(inputs: ImageLike | Iterable[ImageLike]) -> bool:
    """Whether this is a single input: a stack has one more dimension (``[B, C, H, W]``, or ``[B, H, W, 3]``)."""
    if isinstance(inputs, np.ndarray | Tensor):
        return inputs.ndim <= 3
    single = isinstance(inputs, str | Path | bytes | bytearray | memoryview | Image.Image | BinaryFile)
    if not single and (isinstance(inputs, Mapping) or not isinstance(inputs, Iterable)):
        raise ConfigError(
            f"a {type(inputs).__name__} is no input: pass a path, bytes, a file, a PIL image, an array, a tensor or a "
            "text, or several of them"
        )
    return single


def name_of(one: ImageLike, index: int) -> str:
    """The name of an input in its result: the path or the text, or its index in the list."""
    if isinstance(one, str | Path):
        return str(one)
    name = getattr(one, "filename", "") or getattr(one, "name", "") if not isinstance(one, Tensor) else ""
    return name if isinstance(name, str) and name else f"image {index}"
