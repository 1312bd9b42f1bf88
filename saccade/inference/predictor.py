"""A trained model as a function of images: paths, pictures, arrays or tensors in, predictions out.

predictor = saccade.load("runs/digits")
predictor.predict("cat.jpg").label
"""

import logging
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saccade.checkpoints.loading import LoadedModel, load_model
from saccade.data.boxed_batches import BoxDataset, BoxSample
from saccade.data.images import read_image
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.data.vocabulary import BYTE_ARCHITECTURES, Vocabulary, vocabulary_for
from saccade.errors import CheckpointError, ConfigError, ImageError
from saccade.models.detr import DetrOutput
from saccade.models.model import Model
from saccade.nn.matmul_precision import MatmulPrecision, choose_matmul_precision, matmul_precision
from saccade.tasks.classical import ClassicalTask
from saccade.tasks.classification import ClassificationTask
from saccade.tasks.contrastive import ContrastiveTask
from saccade.tasks.depth import DepthTask
from saccade.tasks.detection import DetectionTask
from saccade.tasks.panoptic import Panoptic, panoptic, with_masks
from saccade.tasks.predictions import Classification, Detection
from saccade.tasks.segmentation import SegmentationTask
from saccade.tasks.task import Task
from saccade.tasks.translation import TranslationTask
from saccade.tasks.weights import DepthWeights
from saccade.tasks.words import MaskedWords

Prediction = Classification | Detection
OF_TEXTS = ("translation", "words", "text")  # tasks of models that may need no preparation of images
PANOPTIC_THRESHOLD = 0.85  # the original's
ImageLike = str | Path | bytes | Image.Image | np.ndarray | Tensor
log = logging.getLogger("saccade")


class Predictor:
    """A model with what it needs to be used: its preprocessing, its labels and its task.

    Attributes:
        model: the network in evaluation mode; ``model(images [B, C, H, W])`` -> logits ``[B, K]``.
        labels: K class names, in the order of the logits.
        task: what the model does: ``"classification"``, ``"detection"``, ``"depth"``, ``"segmentation"``,
            ``"pretraining"``, ``"contrast"``, ``"translation"``, ``"words"``.
        about: the task itself, which decodes and measures.
        source: the loaded model with its architecture, provenance and the report of what was loaded.
    """

    def __init__(self, source: LoadedModel, *, device: torch.device | str = "cpu"):
        if source.preprocessing is None and source.task not in OF_TEXTS:
            raise CheckpointError(
                "this checkpoint does not say how images are prepared for it; load it with "
                "saccade.checkpoints.loading.load_model and give it tensors"
            )
        self.source, self._preprocess = source, source.preprocessing
        self.device = torch.device(device)
        self.model: Model = source.model.eval().to(self.device)
        self.task = source.task
        self.labels = source.labels
        self.about: Task = task_of(source)
        choice = choose_matmul_precision(self.device, self.model)
        self.matmul_precision: MatmulPrecision = choice.precision
        log.info("%s", choice.reason)

    @property
    def preprocess(self) -> Preprocessing:
        """What turns a picture into a tensor ``[C, H, W]``, as the model was trained.

        Raises:
            ConfigError: the model reads texts.
        """
        if self._preprocess is None:
            raise ConfigError("this model reads texts, not images: saccade translate, or saccade fill")
        return self._preprocess

    @preprocess.setter
    def preprocess(self, preprocessing: Preprocessing) -> None:
        self._preprocess = preprocessing

    @overload
    def predict(self, images: ImageLike, *, top: int = 5, batch_size: int = 32) -> Prediction: ...
    @overload
    def predict(self, images: Sequence[ImageLike], *, top: int = 5, batch_size: int = 32) -> list[Prediction]: ...
    def predict(self, images, *, top=5, batch_size=32):
        """What the images show.

        Args:
            images: a path, a PIL image, the bytes of an image file, an array ``[H, W]`` or ``[H, W, 3]`` uint8, or a
                tensor ``[C, H, W]`` (uint8, or float in [0, 1]); or a list of them, or a stack ``[B, ...]``.
            top: how many classes (or boxes) each prediction keeps, best first.
            batch_size: images that go through the model at once.

        Returns:
            one prediction for one image, a list for a list or a stack.

        Raises:
            ImageError: an image cannot be read; the message names it.
        """
        if is_single(images):
            return next(self.stream([images], top=top, batch_size=1))
        return list(self.stream(images, top=top, batch_size=batch_size))

    def stream(
        self,
        images: Sequence[ImageLike],
        *,
        top: int = 5,
        batch_size: int = 32,
        on_error: Callable[[str, ImageError], None] | None = None,
    ) -> Iterator[Prediction]:
        """The predictions of many images one after the other, a batch in memory at a time.

        An image that cannot be read ends the stream, unless `on_error` is given: then that is called with the image's
        name and the error, and the stream goes on without it.
        """
        if self.task in ("depth", "segmentation"):
            raise ConfigError("this model has a value for every pixel: predictor.dense(image) gives them")
        if self.task == "translation":
            raise ConfigError("this model answers in words: saccade translate, or saccade.inference.writing.translate")
        if not self.labels:
            raise ConfigError(
                "this model has no classes to choose from: train it with a head of your own (saccade train --init), or "
                "take its features from predictor.model.embed(images)"
            )
        for start in range(0, len(images), batch_size):
            names, found = [], []
            for index, image in enumerate(images[start : start + batch_size], start):
                try:
                    picture = read_image(image, channels=self.preprocess.channels)
                    found.append((self.preprocess(picture), size_of(picture)))
                except ImageError as error:
                    if on_error is None:
                        raise
                    on_error(name_of(image, index), error)
                else:
                    names.append(name_of(image, index))
            if found and getattr(self.model.config, "masks", False):
                yield from (self._with_masks(image, size, name, top) for (image, size), name in zip(found, names))
            elif found:
                yield from self.about.decode(self.kept(found), names, top=top)

    def prepare(self, image: ImageLike) -> Tensor:
        """One image -> the model's input ``[C, H, W]``, normalised."""
        return self.preprocess(read_image(image, channels=self.preprocess.channels))

    @torch.inference_mode()
    def kept(self, found: Sequence[tuple[Tensor, tuple[int, int]]]) -> Tensor:
        """Prepared images ``[C, h, w]`` and the sizes (H, W) of those that they are of -> what the task decodes."""
        if self.task == "detection":  # images keep their own shapes
            batch, _ = BoxDataset.collate([unlabelled(image, size) for image, size in found])
        else:
            images, count = torch.stack([image for image, _ in found]), len(found)
            batch = Batch(images, torch.zeros(count, dtype=torch.long), ("",) * count, torch.arange(count))
        batch = batch.to(self.device)
        with matmul_precision(self.matmul_precision):
            return self.about.keep(self.about.run(self.model, batch), batch)[0]

    @torch.inference_mode()
    def _with_masks(self, image: Tensor, size: tuple[int, int], name: str, top: int) -> Detection:
        """Boxes and masks of one prepared image."""
        assert isinstance(self.about, DetectionTask)
        batch = BoxDataset.collate([unlabelled(image, size)])[0].to(self.device)
        with matmul_precision(self.matmul_precision):
            outputs = self.about.run(self.model, batch)
        kept = self.about.keep(outputs, batch)[0]
        (detection,) = self.about.decode(kept, [name], top=top)
        queries = kept[0, :, 4].argsort(descending=True)[: len(detection.boxes)]
        assert isinstance(outputs, DetrOutput)
        assert outputs.masks is not None
        return with_masks(detection, queries, outputs.masks[0].cpu(), size)

    @torch.inference_mode()
    def panoptic(
        self, image: ImageLike, *, stuff: Collection[int] | None = None, threshold: float = PANOPTIC_THRESHOLD
    ) -> Panoptic:
        """One segment for every pixel of one image, at its own size.

        Args:
            image: of any kind.
            stuff: classes that are not counted; of a model with the 250 numbers of COCO's panoptic task those from 91
                on, of any other none, unless given.
            threshold: score below which a query is not asked.

        Raises:
            ConfigError: the model is no detector with masks.
        """
        if self.task != "detection" or not getattr(self.model.config, "masks", False):
            raise ConfigError("panoptic segments need a detector with masks, such as DETR's panoptic files")
        picture = read_image(image, channels=self.preprocess.channels)
        size = size_of(picture)
        batch = BoxDataset.collate([unlabelled(self.preprocess(picture), size)])[0].to(self.device)
        with matmul_precision(self.matmul_precision):
            outputs = self.about.run(self.model, batch)
        if stuff is None:
            stuff = range(91, 250) if len(self.labels) == 250 else ()
        return panoptic(outputs.logits[0].cpu(), outputs.masks[0].cpu(), size, stuff=stuff, threshold=threshold)

    @torch.inference_mode()
    def dense(self, image: ImageLike) -> np.ndarray:
        """A value for every pixel of one image, at its own size: ``[H, W]``.

        Depth in metres (or its inverse up to scale and shift, for models that were trained so), float32; or the number
        of each pixel's class among :attr:`labels`, int64.

        Raises:
            ConfigError: the model says nothing of single pixels.
        """
        if self.task not in ("depth", "segmentation"):
            raise ConfigError(f"this model's task is {self.task}: it says nothing of single pixels")
        picture = read_image(image, channels=self.preprocess.channels)
        inputs = self.preprocess(picture)[None].to(self.device)
        with matmul_precision(self.matmul_precision):
            values = self.model(inputs).values.float().cpu()
        values = values[:, None] if self.task == "depth" else values
        at_size = F.interpolate(values, size=size_of(picture), mode="bilinear", align_corners=False)[0]
        return (at_size[0] if self.task == "depth" else at_size.argmax(0)).numpy()

    def metres(self, image: ImageLike, true: np.ndarray) -> np.ndarray:
        """Depth of one image ``[H, W]`` after the alignment to a true map ``[H, W]`` that the model's metrics allow."""
        assert isinstance(self.about, DepthTask)
        said, truth = torch.from_numpy(self.dense(image)), torch.from_numpy(true)
        return self.about.fitted(said, truth).numpy()

    @torch.inference_mode()
    def run(self, inputs: Tensor) -> Tensor:
        """The model's input ``[B, C, H, W]`` -> raw outputs ``[B, K]``, on the CPU."""
        with matmul_precision(self.matmul_precision):
            return self.model(inputs.to(self.device)).float().cpu()


def load(
    path: str | Path,
    *,
    num_classes: int | None = None,
    image_size: tuple[int, int] | int | None = None,
    strict: bool = True,
    device: torch.device | str = "cpu",
) -> Predictor:
    """Open a model directory, a run directory or a published checkpoint, ready to predict.

    What was loaded, resized, new and unused is printed on stderr, where it is not simply everything of a directory of
    ours.

    Args:
        path: ``runs/NAME``, a model directory, a Hugging Face folder, a file (.safetensors, .npz, .pth), or
            ``hub:ORG/NAME``.
        num_classes: put a fresh head of this width on it.
        image_size: (H, W) in pixels; positions are resampled.
        strict: refuse a file with keys that have no place in the model.
        device: where the model runs.

    Raises:
        CheckpointError: what cannot be read, placed or verified, and what to do.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    loaded = load_model(path, num_classes=num_classes, image_size=size, strict=strict)
    report = loaded.report
    if report.format != "saccade" or report.resized or report.new:
        print(report, file=sys.stderr)
    return Predictor(loaded, device=device)


def task_of(source: LoadedModel) -> Task:
    """What a loaded model does."""
    if source.task == "detection":
        return (ClassicalTask if source.architecture == "yolo" else DetectionTask)(source.labels)
    if source.task == "segmentation":
        return SegmentationTask(source.labels)
    if source.task == "depth":
        # Published files give the inverse of depth up to scale and shift; a run of ours says what it learned.
        return DepthTask(DepthWeights(**source.provenance.get("depth", {"loss": "ssi"})))
    if source.task == "contrast":
        return ContrastiveTask()
    if source.task == "translation":
        return TranslationTask(vocabulary_of(source), length=source.model.config.context_length)
    if source.task == "words":
        return MaskedWords(vocabulary_of(source))
    return ClassificationTask(source.labels)


def vocabulary_of(source: LoadedModel) -> Vocabulary:
    """The words of a loaded model; see :func:`saccade.data.vocabulary.vocabulary_for`."""
    size = source.model.config.vocab_size
    return vocabulary_for(
        source.vocabulary, size, "the model's folder", of_bytes=source.architecture in BYTE_ARCHITECTURES
    )


def unlabelled(image: Tensor, size: tuple[int, int]) -> BoxSample:
    """A prepared image ``[C, h, w]`` of one of size (H, W), of which no boxes are known."""
    return BoxSample(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.tensor(size), "", 0, "")


def size_of(picture: Image.Image | Tensor) -> tuple[int, int]:
    """(H, W) in pixels."""
    return (picture.shape[-2], picture.shape[-1]) if isinstance(picture, Tensor) else (picture.height, picture.width)


def is_single(images: ImageLike | Sequence[ImageLike]) -> bool:
    """Whether this is one image: a stack has one dimension more (``[B, C, H, W]``, or ``[B, H, W, 3]``)."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim <= 3
    return isinstance(images, str | Path | bytes | Image.Image)


def name_of(image: ImageLike, index: int) -> str:
    """What a prediction calls its image: the path, or the place in the list."""
    if isinstance(image, str | Path):
        return str(image)
    return getattr(image, "filename", "") or f"image {index}"
