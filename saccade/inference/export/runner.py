"""An exported file as a predictor: image files or texts in, typed results out. Loads no torch.

predictor = open_exported("model.onnx", decoder_of)
for result in predictor.stream(["cat.jpg"]): print(result)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saccade.checkpoints.atomic import sha256_of
from saccade.data.image_formats import MAX_PIXELS
from saccade.data.pictures import FileLike, read_picture
from saccade.engine.exported import DecoderMaker, ResultDecoder, TextDecoder
from saccade.engine.results import Result
from saccade.errors import ConfigError, ImageError, MeasurementError
from saccade.inference.export.metadata import Metadata, exported_file, part_file
from saccade.inference.export.sessions import Session, open_session


class Picture(NamedTuple):
    """One image that was read."""

    name: str
    pixels: np.ndarray  # [H, W, C] uint8
    size: tuple[int, int]  # (H, W) in its file


class ExportedPredictor:
    """Runs an exported graph on image files, or on texts.

    Args:
        session: the graph.
        metadata: of the file.
        decoder: of the graph's outputs.
        file: that holds the graph.
    """

    def __init__(self, session: Session, metadata: Metadata, decoder: ResultDecoder, file: Path):
        self.session, self.metadata, self.decoder, self.file = session, metadata, decoder, file
        self.max_pixels = MAX_PIXELS

    @property
    def reads_images(self) -> bool:
        """Whether inputs are images; texts otherwise."""
        return self.metadata.reads_images

    @property
    def channels(self) -> int:
        """Of the images: 1 or 3."""
        return self.metadata.channels

    def digest(self) -> str:
        """Hexadecimal digits that change with the file, and with the weights next to it."""
        files = [part_file(self.file, name) for name in ("", *self.metadata.parts)]
        weights = [file.with_suffix(".bin") for file in files]
        return "".join(sha256_of(path) for path in (*files, *weights) if path.is_file())

    def predict(self, image: FileLike) -> Result:
        """The result for one image: a path, the bytes of an image file, an open file or a PIL image."""
        return next(self.stream([image], batch_size=1))

    def stream(
        self,
        inputs: Iterable[FileLike],
        *,
        batch_size: int = 16,
        on_error: Callable[[str, ImageError], None] | None = None,
    ) -> Iterator[Result]:
        """The results of many images one after the other; images of one size run together, of several where the graph
        takes padded batches.

        An image that cannot be read ends the stream, unless `on_error` is given: it is then called with the image's
        name and the error, and the stream continues.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
        if not self.reads_images:
            yield from self._texts(inputs, batch_size)
            return
        pictures = self._read(inputs, on_error)
        while part := list(islice(pictures, batch_size)):
            for group in [part] if self.metadata.padded else groups(part):
                outputs, names = self.outputs(group)
                yield from self.decoder.decode(outputs, names, [picture.size for picture in group])

    def outputs(self, group: Sequence[Picture]) -> tuple[dict[str, np.ndarray], list[str]]:
        """The graph's outputs for images that run together, and their names.

        Raises:
            MeasurementError: they are not finite.
        """
        outputs, names = self.run([picture.pixels for picture in group]), [picture.name for picture in group]
        require_finite(outputs, names)
        return outputs, names

    def _texts(self, texts: Iterable[FileLike], batch_size: int) -> Iterator[Result]:
        decoder, remaining = self.decoder, iter(texts)
        assert isinstance(decoder, TextDecoder)
        while part := [str(text) for text in islice(remaining, batch_size)]:
            outputs = self.session.run(decoder.text_inputs(part))
            require_finite(outputs, part)
            yield from decoder.decode(outputs, part, [(0, 0)] * len(part))

    def run(self, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Images ``[H, W, C]`` uint8, of one size unless the graph takes padded batches -> its outputs by name."""
        if not self.metadata.padded:
            return self.session.run({"images": np.stack(images)})
        return self.session.run(padded_batch(images))

    def _read(
        self, inputs: Iterable[FileLike], on_error: Callable[[str, ImageError], None] | None
    ) -> Iterator[Picture]:
        for number, one in enumerate(inputs):
            name = str(one) if isinstance(one, str | Path) else f"image {number}"
            try:
                picture, size = read_picture(one, channels=self.channels, max_pixels=self.max_pixels)
            except ImageError as error:
                if on_error is None:
                    raise
                on_error(name, error)
                continue
            pixels = np.asarray(picture)
            yield Picture(name, pixels if pixels.ndim == 3 else pixels[..., None], size)


def require_finite(outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Raise MeasurementError for an output that is NaN or infinite."""
    for name, values in outputs.items():
        if values.dtype != bool and not np.isfinite(values).all():
            raise MeasurementError(f"the output {name} is NaN or infinite for {', '.join(names[:4])}")


def groups(pictures: Sequence[Picture]) -> Iterator[list[Picture]]:
    """Neighbours of one size."""
    group: list[Picture] = []
    for picture in pictures:
        if group and picture.pixels.shape != group[0].pixels.shape:
            yield group
            group = []
        group.append(picture)
    yield group


def padded_batch(images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Images ``[H, W, C]`` uint8 of any sizes as the inputs of a graph: `images` ``[B, H, W, C]``, zeros at the right
    and the bottom, and `sizes` ``[B, 2]`` int64."""
    sizes = np.array([image.shape[:2] for image in images], dtype=np.int64)
    batch = np.zeros((len(images), *sizes.max(0), images[0].shape[2]), np.uint8)
    for row, image in zip(batch, images):
        row[: image.shape[0], : image.shape[1]] = image
    return {"images": batch, "sizes": sizes}


def open_exported(
    path: str | Path,
    decoder_of: Callable[[str], DecoderMaker],
    *,
    options: Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> ExportedPredictor:
    """Open a file that `saccade export` wrote.

    Args:
        path: ``.onnx``, ``.xml``, or a folder with one of them.
        decoder_of: name of a task -> its decoder, such as :func:`saccade.tasks.table.decoder`.
        options: of the task's predictions, such as ``{"top": 3}``.
        threads: of the runtime; those of the machine by default.

    Raises:
        CheckpointError: the file cannot be read, or was not written by `saccade export`.
        ConfigError: its runtime is not installed, or the task has no such option.
    """
    file = exported_file(path)
    if file is None:
        raise ConfigError(f"{path} is no exported file: those end in .onnx or .xml")
    session = open_session(file, threads)
    metadata = Metadata.read(session.properties, file)
    parts = {name: open_session(part_file(file, name), threads).run for name in metadata.parts}
    decoder = decoder_of(metadata.task)(metadata.exported_task(options or {}, parts))
    return ExportedPredictor(session, metadata, decoder, file)
