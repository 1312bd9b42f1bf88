"""The images of an analysis: a data set, or single files; and how a model reads a whole image."""

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saccade.data.batching import BatchDataset, default_workers, eval_batches
from saccade.data.class_names import match_classes
from saccade.data.images import is_image_name
from saccade.data.samples import Batch, Source
from saccade.engine.evaluation import choose_split
from saccade.engine.predictor import Predictor
from saccade.engine.task import GivesProbabilities
from saccade.errors import ConfigError, DataError, UnmatchedClassesError
from saccade.models.clip import CLIP
from saccade.models.model import Model
from saccade.nn.attention import Attention
from saccade.nn.tokens import TokenLayout

SINGLE_CLASS = "where there is only one, it is 1 whatever is hidden"


class Embedder(nn.Module):
    """A model without its head: ``[B, C, H, W]`` -> ``[B, D]``."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model
        self.config = model.config
        self.train(model.training)  # whoever puts this back into its mode puts the model back into its own

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout | None:
        return self.model.token_layout(image_size)


def inner_model(reader: Model | Embedder) -> Model:
    """The model that a reader runs."""
    return reader.model if isinstance(reader, Embedder) else reader


def has_attention(model: nn.Module) -> bool:
    """Whether any of a model's modules is an attention."""
    return any(isinstance(module, Attention) for module in model.modules())


def instead_of_attention(reader: Model | Embedder) -> str:
    """What there is of a network without attention over an image, for messages."""
    by_class = "" if isinstance(reader, Embedder) else "grad-cam, or "
    return f"use {by_class}the analyses field and activations"


def require_images(predictor: Predictor) -> None:
    """Raise ConfigError where a model reads texts."""
    if not predictor.reads_images:
        raise ConfigError(
            f"this {predictor.source.architecture} reads texts, and the analysis needs a model of images; of texts "
            "there are attention, rollout, flow and relevance"
        )


def image_reader(predictor: Predictor) -> Model | Embedder:
    """A module that reads whole images ``[B, C, H, W]`` and nothing else.

    The model itself where it has classes or no embedding (DETR, DPT). Without its head otherwise, since a masked
    autoencoder hides parts of the image and a CLIP also reads texts.

    Raises:
        ConfigError: the model reads texts, alone or with an image.
    """
    require_images(predictor)
    model = predictor.model
    embeds = type(model).embed is not Model.embed
    if embeds and not predictor.labels:
        return Embedder(model)
    if len(model.example_inputs(1)) > 1:
        raise ConfigError(
            f"this {predictor.source.architecture} reads more than an image: use saccade.record with its inputs"
        )
    return model


def without_probability(predictor: Predictor) -> str:
    """Why maps of a model cannot be scored by the probability of an image's class; "" where they can."""
    scored_by = "maps are scored by the probability of an image's class"
    if not gives_probabilities(predictor):
        return f"{scored_by}, and this model for {predictor.task.name} gives none"
    single = gives_one_class(predictor) and len(predictor.labels) == 1
    return f"{scored_by}: {SINGLE_CLASS}" if single else ""


def gives_probabilities(predictor: Predictor) -> bool:
    """Whether the model gives each class of an input a probability."""
    return bool(predictor.labels) and isinstance(predictor.task, GivesProbabilities)


def class_probabilities(predictor: Predictor, logits: Tensor) -> Tensor:
    """The probabilities of the classes, ``[..., K]`` for logits ``[..., K]``.

    Raises:
        ConfigError: the model gives none.
    """
    if not isinstance(predictor.task, GivesProbabilities):
        raise ConfigError(without_probability(predictor))
    return predictor.task.probabilities(logits)


def gives_one_class(predictor: Predictor) -> bool:
    """Whether the model gives an input one of its classes: then the softmax of its logits are their probabilities."""
    return bool(predictor.labels) and predictor.task.class_targets == ("target",)


def require_one_class(predictor: Predictor, analysis: str) -> None:
    """Raise ConfigError for a model that does not give an image one of its classes, by its logits."""
    if not gives_one_class(predictor):
        instead = "saccade evaluate measures it"
        if isinstance(predictor.model, CLIP):
            instead = "give the classes as texts (--text, several times)"
        elif predictor.task.class_targets == ("target",):  # it has no head
            instead = "saccade probe measures its features"
        raise ConfigError(f"{analysis} is for classifiers with one class an image, and this model is none: {instead}")


@dataclass(frozen=True)
class ImageBatches:
    """Batches of prepared images in order.

    Attributes:
        batches: can be iterated once (keep a list for more); ``batch.inputs`` is ``[B, C, H, W]``, on the CPU.
        count: images in all.
        note: which images, for people.
        class_index: for each class of the data its number among the model's classes, ``[K]`` int64; None for data
            without classes that the model has.
        unmatched: why the classes of the data are not the model's; "" where they are, or where there are none.
    """

    batches: Iterable[Batch]
    count: int
    note: str
    class_index: Tensor | None = None
    unmatched: str = ""

    def require_targets(self) -> None:
        """Raise DataError where the classes of the data are not the model's."""
        if self.unmatched:
            raise DataError(self.unmatched)


def open_images(
    predictor: Predictor,
    data: str,
    *,
    split: str = "auto",
    limit: int | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    texts: bool = False,
) -> ImageBatches:
    """The images that an analysis runs on. Their classes need not be the model's: most analyses use none.

    Args:
        predictor: the model, which prepares them.
        data: an image file, a pattern with ``*``, or a data set as for :func:`saccade.engine.evaluation.evaluate`.
        split: of a data set, as for `evaluate`.
        limit: maximum number of images, evenly spaced; all by default.
        batch_size: images at once.
        workers: loader processes; chosen for the machine by default.
        texts: whether the analysis also runs on texts: then the inputs of a model of texts are these.

    Raises:
        ConfigError: the model reads texts and the analysis does not, or the limit is below 1.
        DataError, ImageError: what cannot be opened.
    """
    if not texts:
        image_reader(predictor)
    if limit is not None and limit < 1:
        raise ConfigError(f"the number of images must be at least 1, not {limit}")
    files = image_files(data)
    if files:
        files = [files[i] for i in spaced(len(files), limit)]
        return ImageBatches(_file_batches(predictor, files, batch_size), len(files), f"{len(files)} files of {data}")
    index, unmatched = None, ""
    try:
        splits, parts, note = choose_split(predictor, data, split)
        if predictor.task.class_targets:
            index = torch.from_numpy(match_classes(splits.classes, predictor.labels, data).index)
    except UnmatchedClassesError as error:
        unmatched = str(error)
        _, parts, note = choose_split(predictor, data, split, predictor.room.open_data)  # with its own classes
    name = "+".join(parts)
    total = sum(len(part) for part in parts.values())
    indices = spaced(total, limit)
    batches = _set_batches(predictor, parts, indices, batch_size, workers)
    described = f"{len(indices)} {predictor.room.inputs} of {data}, {name} ({note})"
    return ImageBatches(batches, len(indices), described, index, unmatched)


def split_images(
    predictor: Predictor, part: Source, *, limit: int | None = None, batch_size: int = 1, note: str = ""
) -> ImageBatches:
    """Images of a split that is open already, evenly spaced; as the model reads them in evaluation, in this process.

    Raises:
        ConfigError: the model reads texts, alone or with an image.
    """
    image_reader(predictor)
    indices = spaced(len(part), limit)
    return ImageBatches(_set_batches(predictor, {"": part}, indices, batch_size, 0), len(indices), note)


def image_files(data: str) -> list[Path]:
    """The image files that a path or a pattern stands for; none for a data set."""
    path = Path(data)
    if path.is_file() and is_image_name(path.name):
        return [path]
    if not path.exists() and glob.has_magic(data):
        return [Path(p) for p in sorted(glob.glob(data, recursive=True)) if is_image_name(p)]
    return []


def spaced(count: int, limit: int | None) -> list[int]:
    """Indices below `count`, evenly spaced, at most `limit`."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def _file_batches(predictor: Predictor, files: list[Path], batch_size: int) -> Iterator[Batch]:
    remaining = iter(files)
    while part := list(islice(remaining, batch_size)):
        prepared, sizes = zip(*(predictor.read(path) for path in part))
        yield predictor.task.input_batch(prepared, sizes, [str(path) for path in part])


@dataclass(frozen=True)
class _Subset:
    """A part of a data set, as `eval_batches` takes it."""

    dataset: BatchDataset
    indices: list[int]

    @property
    def source(self) -> Any:
        """Of which only the length is used."""
        return self.indices

    @property
    def cache(self) -> object | None:
        return self.dataset.cache

    def __getitem__(self, item: tuple[int, tuple[int, ...]]) -> Any:
        return self.dataset[self.indices[item[0]], item[1]]

    def collate(self, samples: Any) -> tuple[Batch, list[str]]:
        return self.dataset.collate(samples)


def _set_batches(
    predictor: Predictor, parts: dict[str, Source], indices: list[int], batch_size: int, workers: int | None
) -> Iterator[Batch]:
    start = 0
    for part in parts.values():
        inside = [i - start for i in indices if start <= i < start + len(part)]
        start += len(part)
        dataset = _Subset(predictor.room.eval_dataset(part, predictor.source), inside)
        yield from eval_batches(dataset, batch_size, workers=default_workers(dataset) if workers is None else workers)
